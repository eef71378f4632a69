"""That an event cannot be used."""


class RefusedError(Exception):
    """The event cannot be used; it is as if it had not come."""


class NoRateError(RefusedError):
    """There is no rate for its currency on its date; with one it could be used."""


class HeartbeatError(RefusedError):
    """It is a heartbeat: no event at all, and not refused either."""
