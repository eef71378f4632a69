"""The CloudEvents 1.0 envelope: structured in the value, or binary in `ce_*` headers.

`data` is the event. Where it lacks event_id or occurred_at, the envelope's `id` and `time` serve.
"""

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from salesfx.refusal import Reason, Refused


def data_of(envelope: Any) -> bytes:
    """Give the event inside a structured envelope.

    Raises:
        Refused: The envelope is of another version, or without data.

    """
    if envelope.specversion != "1.0":
        raise Refused(Reason.INVALID_ENVELOPE, f"specversion: {str(envelope.specversion)[:60]!r} is not 1.0")
    data = bytes(envelope.data)
    if not _is_absent(data):
        return data
    if not isinstance(envelope.data_base64, str):
        raise Refused(Reason.INVALID_ENVELOPE, "data: absent; the event belongs there")
    try:
        return base64.b64decode(envelope.data_base64, validate=True)
    except ValueError as error:
        raise Refused(Reason.INVALID_ENVELOPE, f"data_base64: {error}") from None


def fill_from_headers(wire: Any, headers: Sequence[tuple[str, bytes | None]]) -> None:
    """Fill what the event lacks from the headers of binary mode.

    Raises:
        Refused: The envelope is of another version, or its headers are not UTF-8.

    """
    try:
        attributes = {name: (value or b"").decode() for name, value in headers if name.startswith("ce_")}
    except UnicodeDecodeError:
        raise Refused(Reason.INVALID_ENVELOPE, "a ce_ header is not UTF-8") from None
    if attributes["ce_specversion"] != "1.0":
        raise Refused(Reason.INVALID_ENVELOPE, f"ce_specversion: {attributes['ce_specversion'][:60]!r} is not 1.0")
    fill(wire, attributes.get("ce_id"), attributes.get("ce_time"))


def fill(wire: Any, event_id: Any, time: Any) -> None:
    """Fill event_id and occurred_at where the event lacks them."""
    if _blank(wire.event_id):
        wire.event_id = event_id
    if _blank(wire.occurred_at):
        wire.occurred_at = time


def _is_absent(data: bytes) -> bool:
    if not data.startswith(b'"'):
        return data in {b"", b"null"}
    try:
        return _blank(msgspec.json.decode(data))
    except msgspec.DecodeError:  # for the reader to refuse
        return False


def _blank(value: Any) -> bool:
    return value is None or value is msgspec.UNSET or (isinstance(value, str) and not value.strip())
