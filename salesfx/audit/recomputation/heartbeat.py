"""A heartbeat: a message that only says which feed lives. One that is well formed counts nowhere."""

from salesfx.audit.recomputation.fields import read_instant, read_name, required
from salesfx.audit.recomputation.message import Headers, read_object
from salesfx.audit.recomputation.refusal import HeartbeatError, RefusedError

HEADER = "salesfx_heartbeat"  # its value is the name of the feed


def refuse_heartbeat(value: bytes, headers: Headers) -> None:
    """Raise HeartbeatError where a message is a heartbeat, RefusedError where it says that it is, and is malformed."""
    names = [name for header, name in headers if header == HEADER]
    if not names:
        return
    raw = read_object(value)
    feed = required("feed", read_name(raw, "feed") or None)
    required("sent_at", read_instant(raw, "sent_at"))
    if names[-1] != feed.encode("utf-8"):
        raise RefusedError("the header names another feed than the value")
    raise HeartbeatError(feed)
