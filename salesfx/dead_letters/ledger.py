"""The state of every letter, folded from the records of the dead-letter topic. Pure.

The first letter of an event stands: a repeat, after a crash or after a Redis that lost its data, opens nothing again. Of
a letter's marks the latest stands.

A key names a place, and where a topic was made again another event lies there. Its letter holds another event, so it is no
repeat: it takes the place of the former one, and what was done with that one says nothing about it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from salesfx.dead_letters.letter import DROPPED, Mark, Origin, Place, read_mark, read_origin
from salesfx.tables.layout import partition_field


class Status(StrEnum):
    """What became of a letter."""

    OPEN = "open"
    """Nothing was done with it."""
    DROPPED = "dropped"
    """Somebody dropped it."""
    WAITING = "waiting"
    """Published again; the workers have not taken it yet."""
    MERGED = "merged"
    """Published again, and the workers have taken it."""
    REFUSED_AGAIN = "refused_again"
    """Published again, and refused: there is another letter, of the event that was published again."""
    REPLAYED = "replayed"
    """Published again; what became of it cannot be told, because Redis cannot be asked."""


class Entry(msgspec.Struct, gc=False):
    """What is remembered of a letter while the topic is read: not its value."""

    origin: Place
    """Where its event lies."""
    reason: str
    when: int
    """Kafka's timestamp of the letter, in milliseconds since 1970."""
    partition: int
    """Of the dead-letter topic."""
    offset: int
    digest: bytes
    """Of its event, see `Origin`."""
    replay_of: str | None = None
    """Key of the letter from which its event was published again, where it says so."""
    repeats: int = 0
    """How often the letter stands in the topic beyond the first time."""

    @property
    def order(self) -> tuple[int, int, int]:
        """What comes later is greater."""
        return self.when, self.partition, self.offset

    def is_before(self, other: "Entry | Mark") -> bool:
        """Tell whether something came later; in one partition whatever the clocks of Kafka's brokers did."""
        if self.partition == other.partition:
            return self.offset < other.offset
        return self.when <= other.when


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters are meant; None is no condition."""

    reason: str | None = None
    topics: frozenset[str] | None = None
    """As Kafka names them."""
    since: int | None = None
    """Instant, in microseconds, from which on they were refused."""
    until: int | None = None
    """Instant before which they were refused."""

    def has(self, entry: Entry) -> bool:
        """Tell whether a letter is meant."""
        instant = entry.when * 1000
        return (
            (self.reason is None or entry.reason == self.reason)
            and (self.topics is None or entry.origin.topic in self.topics)
            and (self.since is None or instant >= self.since)
            and (self.until is None or instant < self.until)
        )


class Ledger:
    """All letters and what became of them, as far as the topic tells."""

    def __init__(self, topics: Mapping[str, str]) -> None:
        """Make one.

        Args:
            topics: Our names of the event topics, by the names that they have in Kafka.

        """
        self._topics = topics
        self.letters: dict[str, Entry] = {}
        """By key: the letter of the event that came to lie at its place last, the first one of it."""
        self._former: dict[str, dict[bytes, Entry]] = {}
        """By key and digest: letters of events that lay at the same place before."""
        self._marks: dict[str, list[Mark]] = {}
        self.not_letters = 0
        """Records of the topic that are neither letters nor marks."""
        self.offsets: Mapping[str, int] | None = None
        """The offsets stored in Redis, read before the topic was, so that no letter is missed; None: Redis cannot be asked."""
        self._words: dict[str, str] = {}

    def add(self, record: Any) -> None:
        """Take a record of the dead-letter topic, in whatever order they come."""
        letter = read_origin(record)
        if letter is not None:
            self._add_letter(record, letter)
            return
        mark = read_mark(record)
        if mark is None:
            self.not_letters += 1
        else:
            self._marks.setdefault(mark[0], []).append(mark[1])

    def _add_letter(self, record: Any, letter: Origin) -> None:
        origin = letter.place._replace(topic=self._words.setdefault(letter.place.topic, letter.place.topic))
        reason = self._words.setdefault(letter.reason, letter.reason)
        at = record.timestamp, record.partition, record.offset
        entry = Entry(origin, reason, *at, letter.digest, letter.replay_of)
        key = str(origin)
        known = self.letters.get(key)
        if known is None:
            self.letters[key] = entry
            return
        events = self._former.pop(key, {})
        events[known.digest] = known
        if entry.digest in events:
            entry = _first(events[entry.digest], entry)
        events[entry.digest] = entry
        # Of several events that which came last: in a log that is gone nothing is refused any more.
        standing = entry if entry.digest != known.digest and entry.order > known.order else _last(events)
        self.letters[key] = events.pop(standing.digest)
        if events:
            self._former[key] = events

    def earlier_events(self, key: str) -> int:
        """Count the other events that were refused at the same place before, in a topic that is gone."""
        return len(self._former.get(key, ()))

    def marks(self, key: str) -> list[Mark]:
        """List what was done with a letter, the first first."""
        entry = self.letters[key]
        return sorted((mark for mark in self._marks.get(key, ()) if entry.is_before(mark)), key=lambda mark: mark.order)

    def status(self, key: str) -> Status:
        """Tell what became of a letter."""
        if key not in self._marks:
            return Status.OPEN
        marks = self.marks(key)
        if not marks:
            return Status.OPEN
        if marks[-1].disposition == DROPPED or marks[-1].replayed_to is None:
            return Status.DROPPED
        return self.status_of_replay(key, marks[-1].replayed_to)

    def status_of_replay(self, key: str, place: Place) -> Status:
        """Tell what became of a letter's event that was published again at a place."""
        if self.is_refused_again(key, place):
            return Status.REFUSED_AGAIN
        if self.offsets is None or place.topic not in self._topics:
            return Status.REPLAYED
        taken = self.offsets.get(partition_field(self._topics[place.topic], place.partition), 0) > place.offset
        return Status.MERGED if taken else Status.WAITING

    def is_refused_again(self, key: str, place: Place) -> bool:
        """Tell whether a letter's event that was published again at a place was refused there.

        A letter of an event that lay there before, in a topic that is gone, is none of it.
        """
        refusal = self.letters.get(str(place))
        return refusal is not None and refusal.replay_of == key and self.letters[key].is_before(refusal)

    def chosen(self, selection: Selection, statuses: Iterable[Status] | None = None) -> Iterator[str]:
        """Give the keys of the letters that are meant; None is any status."""
        wanted = None if statuses is None else frozenset(statuses)
        for key, entry in self.letters.items():
            if selection.has(entry) and (wanted is None or self.status(key) in wanted):
                yield key

    def summary(self, keys: Iterable[str]) -> dict[tuple[str, str], int]:
        """Count letters by topic and reason, in their order."""
        counts = Counter((self.letters[key].origin.topic, self.letters[key].reason) for key in keys)
        return dict(sorted(counts.items()))


def _first(one: Entry, other: Entry) -> Entry:
    """Give the first of two letters of the same event, of which the other is a repeat."""
    first, repeat = (one, other) if one.order < other.order else (other, one)
    first.repeats += repeat.repeats + 1
    return first


def _last(events: Mapping[bytes, Entry]) -> Entry:
    return max(events.values(), key=lambda entry: entry.order)
