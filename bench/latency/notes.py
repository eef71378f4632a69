"""What the processes of a phase note down, and what follows from that. All moments are of the machine's monotonic clock,
which its processes share.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import msgspec

from bench.results import quantile

NOTIFICATIONS = "Kh"
"""What `notify-keyspace-events` of Redis has to be for the watcher: hashes, by their keys."""
Sighting = tuple[float, str, int]
"""At this moment, everything of this partition (`topic:number`) before this offset was there."""
Due = tuple[str, int, bytes, bytes]
"""Topic, partition, key, value of an event that is to be published."""


class Sent(msgspec.Struct):
    """What the publisher notes of each event, in the order of the schedule: event n is due at begin + n / rate."""

    begin: float
    rate: float
    handed: list[float]
    """When it was handed to Kafka's client."""
    acknowledged: list[float]
    """When Kafka's answer came that all replicas have it."""
    places: list[tuple[str, int]]
    """The partition and offset that Kafka gave it."""

    def due(self, number: int) -> float:
        """Tell when an event was to be published."""
        return self.begin + number / self.rate


class Scrape(msgspec.Struct):
    """One answer of `/metrics`."""

    asked: float
    answered: float
    counted: dict[str, int]
    """Topic -> its events processed and rejected."""


class Arrivals:
    """When each event was first there."""

    def __init__(self, sightings: Iterable[Sighting]) -> None:
        self._moments: dict[str, list[float]] = {}
        self._ends: dict[str, list[int]] = {}
        for moment, field, end in sightings:
            ends = self._ends.setdefault(field, [])
            if not ends or end > ends[-1]:
                ends.append(end)
                self._moments.setdefault(field, []).append(moment)

    def of(self, field: str, offset: int) -> float:
        """Tell when the event of this place was first seen.

        Raises:
            LookupError: It was not.

        """
        ends = self._ends.get(field, [])
        place = bisect_right(ends, offset)
        if place == len(ends):
            raise LookupError(f"{field} at {offset} was never seen")
        return self._moments[field][place]


def latencies(sent: Sent, sightings: Iterable[Sighting], skip: int) -> list[float]:
    """Give every event's seconds from the moment it was due until it was seen, sorted, without the first ones."""
    arrivals = Arrivals(sightings)
    numbers = range(skip, len(sent.places))
    return sorted(arrivals.of(*sent.places[number]) - sent.due(number) for number in numbers)


def achieved(sent: Sent, sightings: Iterable[Sighting]) -> float:
    """Give the events a second that were seen by the moment at which the last one was due."""
    arrivals, end = Arrivals(sightings), sent.due(len(sent.places) - 1)
    return sum(arrivals.of(*place) <= end for place in sent.places) / (end - sent.begin)


def shown_by(scrapes: Iterable[Scrape], offsets: Iterable[Sighting]) -> list[Sighting]:
    """Tell from the counters of scrapes which events they show.

    The counters are part of the commits, so a topic's is the sum of its stored offsets at that instant; the offsets that
    were seen in Redis tell which these are. Where two commits were seen as one, the earlier state is taken.
    """
    states = _states(offsets)
    found: list[Sighting] = []
    for scrape in scrapes:
        for topic, number in scrape.counted.items():
            sums, fields = states.get(topic, ([], []))
            place = bisect_right(sums, number)
            if place:
                found += [(scrape.answered, field, end) for field, end in fields[place - 1].items()]
    return found


def _states(offsets: Iterable[Sighting]) -> dict[str, tuple[list[int], list[dict[str, int]]]]:
    """Give each topic's states one after the other: the sum of its offsets, and these."""
    current: dict[str, dict[str, int]] = {}
    states: dict[str, tuple[list[int], list[dict[str, int]]]] = {}
    for _, seen in groupby(offsets, itemgetter(0)):
        changed = set()
        for _, field, end in seen:
            topic = field.rpartition(":")[0]
            current.setdefault(topic, {})[field] = end
            changed.add(topic)
        for topic in changed:
            sums, fields = states.setdefault(topic, ([], []))
            sums.append(sum(current[topic].values()))
            fields.append(dict(current[topic]))
    return states


def summary(ordered: Sequence[float]) -> Mapping[str, float]:
    """Sum sorted seconds up, in milliseconds."""
    places = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "greatest": 1.0}
    return {name: quantile(ordered, share) * 1000 for name, share in places.items()} | {"events": len(ordered)}
