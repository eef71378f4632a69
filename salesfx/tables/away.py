"""What to say when Redis cannot be used."""

from salesfx.errors import SalesfxError
from salesfx.settings import masked_url


class TablesAwayError(SalesfxError):
    """Redis cannot be reached, or refuses us."""


# The codes in front of Redis' messages, like OOM, are not in what redis-py raises, where it has an exception for them.
_ADVICE = {
    "permissions": "Give its user all commands on the keys of the namespace: who explains or audits keeps a short journal there.",
    "read only replica": "It is a replica. Give the address of the one that takes writes: who explains or audits keeps a short journal.",
    "maxmemory": "It is full: give it more memory (maxmemory), or drop a generation that is not shown (`salesfx generations drop N`).",
    "WRONGTYPE": "Somebody else has written to salesfx's keys. Put a backup of Redis back, or set `namespace` to a new name: the "
    "tables are then made anew from the log.",
}


def redis_away(url: str, error: BaseException) -> TablesAwayError:
    """Say why Redis cannot be used, and what to do; the URL's password is not shown."""
    words = str(error).rstrip(".") or type(error).__name__
    if "NOAUTH" in words or "HELLO" in words or "Authentication" in words:
        return TablesAwayError(
            f"Redis at {masked_url(url)} asks for a password: put it into SALESFX_REDIS, like "
            "redis://:PASSWORD@HOST:PORT/0, or the whole URL into a file that SALESFX_REDIS_FILE names."
        )
    if "WRONGPASS" in words or "invalid username-password" in words:
        return TablesAwayError(f"Redis at {masked_url(url)} refuses the password that SALESFX_REDIS has.")
    for sign, advice in _ADVICE.items():
        if sign in words:
            return TablesAwayError(f"Redis at {masked_url(url)} refuses a command: {words}. {advice}")
    return TablesAwayError(
        f"Redis at {masked_url(url)} cannot be used: {words}. Is it running, and is SALESFX_REDIS right?"
    )
