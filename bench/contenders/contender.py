"""What the driver and a system under test know of each other.

A contender is one way from the events in Kafka to monthly sales tables. The driver publishes the events, starts it, asks
it how far it has come, and compares the totals that it ends with: who computes something else has not done the work.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Totals = Mapping[str, Mapping[str, int]]
"""Metric -> month like 2023-04 (local time of the definitions) -> number, without zeros; see `TOTALS`."""

TOTALS = ("leads", "qualified_leads", "qualified_leads_value", "booked_sales", "booked_sales_value")
"""What every contender has to get right, whatever else it leaves out. Values are hundredths of the reporting currency."""


@dataclass(frozen=True)
class Place:
    """Where one run takes place."""

    kafka: str
    """Bootstrap address."""
    redis: str
    """URL; only for contenders whose tables are there."""
    topics: Mapping[str, str]
    """lead_created, quote_sent and deal_closed -> their names in this Kafka."""
    partitions: int
    """Of each topic."""
    events: int
    """How many the topics hold together."""
    run: str
    """Unique: for the consumer group, the application's id, the namespace."""
    folder: Path
    """Empty, for state on disk; removed afterwards."""


class Running(Protocol):
    """A contender at work."""

    def done(self) -> int:
        """Tell how many of the published events are in the tables by now, for good.

        Raises:
            SystemExit: It has ended; with what it said.

        """

    def totals(self) -> Totals | None:
        """Give its tables' totals when all events are done; None where it has no tables."""


class Contender(Protocol):
    """A system under test."""

    name: str
    """As the figures call it."""
    leaves_out: str
    """In one sentence: what salesfx does for an event and this does not."""
    share: float
    """Part of the events that it is given, so that a slow one's run takes no longer than the others'."""

    may_count_twice: bool
    """Whether it is so by design that its totals may come out wrong; any other is stopped where they do."""

    def prepare(self, progress: Callable[[str], None]) -> None:
        """Install or compile what it needs, once; raises SystemExit with what is missing."""

    def run(self, place: Place) -> AbstractContextManager[Running]:
        """Start it; it is stopped, with all its processes, at the end of the context."""
