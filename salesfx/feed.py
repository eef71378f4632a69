"""Whether the events get into the tables."""

from collections.abc import Sequence
from datetime import datetime

from salesfx.tables.store import Snapshot


def trouble(_snapshot: Snapshot, _now: datetime) -> Sequence[str]:
    """Give sentences on what is wrong with the way of the events into the tables; empty where all is well."""
    return ()
