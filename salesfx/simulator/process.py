"""The simulated sales team as a stream of published events, endless or between two moments."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import dropwhile, takewhile
from typing import NamedTuple

from .crm import Event, Published, message_key
from .rhythm import SECOND, local_day
from .stories import Stories

_FIRST_YEAR, _LAST_YEAR = 2000, 2099
"""The years that events may have."""


class SimulatedEvent(NamedTuple):
    """One message of the simulated CRM."""

    published_at: datetime
    """When the CRM publishes it: aware, in UTC, to the millisecond. No part of the event."""
    topic: str
    """lead_created, quote_sent or deal_closed."""
    event: Event
    """The JSON object; amounts are decimal strings. It belongs to the receiver, who may change it."""

    @property
    def key(self) -> str:
        """The key of the message."""
        return message_key(self.topic, self.event)


def simulate(seed: int, origin: datetime, *, leads_per_month: int = 250) -> Iterator[SimulatedEvent]:
    """Simulate what a sales team's CRM publishes from `origin` on, in the order of publishing, until the year 2100.

    The team begins at `origin` with no leads, so quotes and deals need some weeks to reach their level. What comes is a
    function of the three arguments: the same on every platform and version of Python. About 1.3 events come per lead; what
    is kept in memory is what is not published yet, a few months of quotes and deals.

    Args:
        seed: Any integer; another one is another team with other customers.
        origin: An aware datetime from the year 2000 to 2099.
        leads_per_month: The yearly average at the beginning (positive); it grows slowly.
    """
    if not _FIRST_YEAR <= origin.year <= _LAST_YEAR:
        raise ValueError(f"a simulation begins in a year from {_FIRST_YEAR} to {_LAST_YEAR}, not in {origin.year}")
    if leads_per_month < 1:
        raise ValueError(f"a simulation has at least 1 lead per month, not {leads_per_month}")
    first = _milliseconds(origin)
    first_day = local_day(first)
    published = published_by(Stories(seed, first_day, leads_per_month), first_day)
    return (
        SimulatedEvent(datetime.fromtimestamp(moment / SECOND, UTC), topic, event)
        for moment, topic, event in published
        if moment >= first
    )


def history(seed: int, start: datetime, end: datetime, *, leads_per_month: int = 250) -> Iterator[SimulatedEvent]:
    """Return the beginning of `simulate(seed, start)`: the events published from `start` to before `end` (aware)."""
    events = simulate(seed, start, leads_per_month=leads_per_month)
    return takewhile(lambda simulated: simulated.published_at < end, events)


def live(seed: int, origin: datetime, start: datetime, *, leads_per_month: int = 250) -> Iterator[SimulatedEvent]:
    """Return the rest of `simulate(seed, origin)`: the events published from `start` (aware) on.

    What `history(seed, origin, start)` gives and this together are the whole, with nothing twice. The time before
    `start` is simulated once more at the first event: some tenths of a second for two years.
    """
    events = simulate(seed, origin, leads_per_month=leads_per_month)
    return dropwhile(lambda simulated: simulated.published_at < start, events)


def published_by(stories: Stories, first_day: int) -> Iterator[Published]:
    """Tell the stories of one day after the other from `first_day` (ordinal) on, and yield what is published."""
    for day in range(first_day, date(_LAST_YEAR + 1, 1, 1).toordinal()):
        stories.tell(day)
        # The local day begins on the evening before in UTC: only that one is complete now.
        yield from stories.crm.take(day - 1)


def _milliseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError(f"a simulation needs moments with a time zone, not {moment.isoformat()}")
    # In whole numbers: a float of seconds would not hold the milliseconds exactly.
    since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400 * SECOND + since.seconds * SECOND + -(-since.microseconds // SECOND)
