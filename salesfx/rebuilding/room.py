"""Whether Redis has room for what a rebuild makes: once its `maxmemory` is reached, it refuses workers and readers too."""

from salesfx.errors import NeedsAttentionError
from salesfx.tables import RedisTables

FULL = 0.97
"""Share of `maxmemory` that a rebuild leaves off at: the live tables need the rest."""
_MARGIN = 1.1
"""A new generation may become so much greater than the live one: that goes on growing, and the estimate is rough."""
_WAYS = "Raise maxmemory, or drop a generation that is not shown: `salesfx generations` lists them, `salesfx generations drop N` deletes one"


class NoRoomError(NeedsAttentionError):
    """Redis has not enough memory for another generation."""


async def check_room_beside(tables: RedisTables, live: str) -> None:
    """See whether another generation as large as the live one fits into Redis.

    Raises:
        NoRoomError: It does not.

    """
    used, most = await tables.memory()
    if not most:
        return
    size = (await tables.generations.size(live)).bytes
    if used + size * _MARGIN > most * FULL:
        raise NoRoomError(
            f"Redis has no room for another generation: generation {live} takes about {_mb(size)}, and {_mb(used)} of {_mb(most)} "
            f"(maxmemory) are in use. Nothing was begun, since a Redis that is full refuses workers and readers too. {_WAYS}."
        )


async def check_room(tables: RedisTables) -> None:
    """See whether Redis has room for one more batch.

    Raises:
        NoRoomError: It is nearly full.

    """
    used, most = await tables.memory()
    if most and used > most * FULL:
        raise NoRoomError(
            f"Redis is nearly full: {_mb(used)} of {_mb(most)} (maxmemory) are in use. This stops before Redis refuses workers and "
            f"readers too. What was made of generation {tables.generation} is kept, and the same command goes on with it. {_WAYS}."
        )


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
