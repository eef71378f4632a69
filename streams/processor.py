"""The way of one batch: decode, load, fold, commit."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Collection, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import NamedTuple, Protocol, TypeVar

from salesfx.decoder import Event, decode, decode_heartbeat
from salesfx.fold import AccountFullError, Outcome, TornReadError
from salesfx.heartbeat import MOST_FEEDS, WORKER, Heartbeat
from salesfx.lead import MAX_ENTITIES
from salesfx.refusal import Reason, Refused
from salesfx.rules import Rules
from salesfx.tables import Tables
from salesfx.tables.feed_marks import LAST_REFUSED
from salesfx.tables.layout import partition_field
from salesfx.tables.store import (
    Answer,
    Commit,
    Committed,
    Conflict,
    DefinitionsChangedError,
    Elsewhere,
    OtherDefinitions,
    Range,
)
from streams.batch import Batch, Record
from streams.dead_letters import DeadLetter
from streams.merge import Merge

_SLICE = 250
"""Records that are decoded in one go, in about a millisecond."""

_timestamp, _topic = attrgetter("timestamp"), attrgetter("topic")
_Answered = TypeVar("_Answered")

log = logging.getLogger("salesfx.worker")


class LetterBox(Protocol):
    """Where dead letters are put."""

    async def send(self, letters: Collection[DeadLetter]) -> None:
        """Return when they are safe."""


class Heard(NamedTuple):
    """A heartbeat, and where it was heard."""

    topic: str
    heartbeat: Heartbeat
    timestamp: int
    """When it got into Kafka, in milliseconds since 1970."""

    @property
    def seconds(self) -> float:
        """When it was made, in Unix time: a clock that is ahead must not let a feed live for ever."""
        return min(self.heartbeat.sent_at / 1_000_000, self.timestamp / 1000)


class Work(NamedTuple):
    """What is decoded and committed in one go: a batch, a part of one, or small ones of several partitions."""

    batches: Sequence[Batch]
    ranges: Sequence[Range]
    """What of each."""
    events: list[Event]
    letters: list[DeadLetter]
    """Records that could not be decoded."""
    heartbeats: list[Heard]
    newest: Sequence[int | None]
    """Of each batch, when its newest event got into Kafka, in milliseconds since 1970; a heartbeat is none."""
    seconds: float
    """How long the decoding took."""
    ahead: Merge | None = None
    """What could be done while the batch before it was on its way."""

    @property
    def batch(self) -> Batch:
        """The only one."""
        [batch] = self.batches
        return batch


class Processor:
    """Takes batches of every topic to the tables."""

    def __init__(self, tables: Tables, rules: Rules, letter_box: LetterBox, topics: Mapping[str, str]) -> None:
        """Make one.

        Args:
            tables: Where the batches go.
            rules: What they mean.
            letter_box: Where events go that cannot be used.
            topics: Our names of the topics, by the names that they have in Kafka.

        """
        self._tables = tables
        self._rules = rules
        self._letter_box = letter_box
        self._topics = topics
        self._seconds_of: dict[str, float] = dict.fromkeys(topics.values(), 0.0)
        """Processing time that no commit has reported yet, by topic."""
        self._gap = asyncio.Event()
        """Whether the batch that is being merged waits for a server, or there is none."""
        self._gap.set()
        self._on_its_way: Commit | None = None
        """The commit that waits for its answer."""
        self._last: Commit | None = None
        """The last one that is in, until the next batch is begun."""
        self._told_without_room: set[str] = set()
        """Topics of which it was told that they have too many feeds."""

    async def process(self, work: Work) -> Elsewhere | None:
        """Take one batch to the tables.

        Returns:
            None when it is in. Elsewhere where the stored offset is not the batch's beginning: the partition is then to
            be read again from there.

        Raises:
            DefinitionsChangedError: The tables are being made under other definitions.

        """
        started = time.perf_counter()
        self._gap.clear()
        # Once: a try that fails may have read some of its records again, so that it no longer fits them.
        last, self._last = self._last, None
        merge = work.ahead
        if merge is None or not merge.rests_on(last):
            merge = Merge(self._tables, self._rules, work.events)
        try:
            return await self._settle(work, merge, set())
        finally:
            self._gap.set()
            self._note_seconds(work, time.perf_counter() - started)

    async def process_together(self, works: Sequence[Work]) -> bool:
        """Take small batches, each of another partition, to the tables by one commit.

        Returns:
            Whether they are in. If not, for whatever reason, each is to be processed by itself, which tells.

        """
        work = _joined(works)
        if work.letters:
            return False
        merge = Merge(self._tables, self._rules, work.events)
        started = time.perf_counter()
        try:
            while True:
                outcome = await merge.outcome()
                if outcome.rejections:
                    return False
                answer = await self._tables.commit(self._commit(work, merge, outcome, []))
                if not isinstance(answer, Conflict):
                    break
                _note_conflict(merge, work, answer)
        except (AccountFullError, TornReadError):
            return False
        finally:
            self._note_seconds(work, time.perf_counter() - started)
        return self._is_in(answer)

    async def fold_ahead(self, work: Work) -> Work:
        """Read and merge a batch while the commit of the one before it is on its way, as if that were in already.

        It counts only where a commit of just that batch gets in. What it rests on is compared at its own commit, like all that
        is read.
        """
        await self._gap.wait()
        before = self._on_its_way
        if before is None:
            return work
        started, merge = time.perf_counter(), Merge(self._tables, self._rules, work.events, onto=before)
        try:
            await merge.outcome()
        except Exception as error:  # noqa: BLE001 - whatever it is, the try that counts meets it again, and treats it
            log.debug("%s is not merged ahead: %s: %s", work.batch.source, type(error).__name__, error)
            return work
        seconds = work.seconds + time.perf_counter() - started
        return work._replace(ahead=merge, seconds=seconds)

    async def _waiting(self, answer: Awaitable[_Answered]) -> _Answered:
        """Wait for a server's answer, and let others be decoded meanwhile; reading is too short a wait for that."""
        self._gap.set()
        try:
            return await answer
        finally:
            self._gap.clear()

    async def decode(self, batch: Batch) -> Work:
        """Decode a batch, in slices, while no other needs the processor: it would only wait for Redis meanwhile."""
        topic, partition = self._topics[batch.source.topic], batch.source.partition
        events: list[Event] = []
        letters: list[DeadLetter] = []
        heard: dict[int, Heard] = {}
        seconds = 0.0
        for start in range(0, len(batch.records), _SLICE):
            await self._gap.wait()
            started = time.perf_counter()
            for record in batch.records[start : start + _SLICE]:
                try:
                    heartbeat = decode_heartbeat(record.value, record.headers) if record.headers else None
                    if heartbeat is None:
                        events.append(decode(topic, record.value, record.headers, partition, record.offset))
                    else:
                        heard[record.offset] = Heard(topic, heartbeat, record.timestamp)
                except Refused as refused:
                    letters.append(DeadLetter(record, refused))
            seconds += time.perf_counter() - started
            await asyncio.sleep(0)
        covered = Range(topic, partition, batch.before, batch.after)
        counted = [record for record in batch.records if record.offset not in heard] if heard else batch.records
        newest = max(map(_timestamp, counted), default=None)
        return Work((batch,), (covered,), events, letters, list(heard.values()), (newest,), seconds)

    def _note_seconds(self, work: Work, seconds: float) -> None:
        """Note how long a batch took; several share it by their records."""
        records = sum(len(batch.records) for batch in work.batches)
        for batch, covered in zip(work.batches, work.ranges, strict=True):
            share = len(batch.records) / records if records else 1 / len(work.batches)
            self._seconds_of[covered.topic] += (work.seconds + seconds) * share

    async def _settle(self, work: Work, merge: Merge, sent: set[bytes]) -> Elsewhere | None:
        while True:
            try:
                outcome = await merge.outcome()
                letters = work.letters + _rejected(work, outcome)
            except AccountFullError as full:
                if await merge.look_for_changes():
                    continue  # there may be a place by now
                if len(work.events) > 1:
                    return await self._settle_halves(work, sent)
                outcome, letters = _NOTHING, [*work.letters, _without_place(work, full)]
            except TornReadError:
                if not await merge.look_for_changes():
                    raise  # it is not the reading: they contradict each other in the store itself
                continue
            if _are_about_bounds(letters) and await merge.look_for_changes():
                continue  # there may be a place by now
            unsent = [letter for letter in letters if letter.origin not in sent]
            if unsent:
                await self._waiting(self._letter_box.send(unsent))
                sent.update(letter.origin for letter in unsent)
            answer = await self._answer(self._commit(work, merge, outcome, letters))
            if not isinstance(answer, Conflict):
                return self._verdict(answer, work)
            _note_conflict(merge, work, answer)

    async def _answer(self, commit: Commit) -> Answer:
        self._on_its_way = commit
        try:
            answer = await self._waiting(self._tables.commit(commit))
        finally:
            self._on_its_way = None
        self._last = commit if isinstance(answer, Committed) else None
        return answer

    async def _settle_halves(self, work: Work, sent: set[bytes]) -> Elsewhere | None:
        """Find the events that an account has no place for, by halving; all others are merged."""
        [covered] = work.ranges
        events, half = work.events, len(work.events) // 2
        middle = events[half].standing.offset
        first, second = covered._replace(after=middle), covered._replace(before=middle)
        for part in (
            work._replace(ranges=(first,), events=events[:half], letters=_within(first, work.letters)),
            work._replace(ranges=(second,), events=events[half:], letters=_within(second, work.letters)),
        ):
            elsewhere = await self._settle(part, Merge(self._tables, self._rules, part.events), sent)
            if elsewhere is not None:
                return elsewhere
        return None

    def _commit(self, work: Work, merge: Merge, outcome: Outcome, letters: list[DeadLetter]) -> Commit:
        counters = Counter({f"processed|{covered.topic}": 0 for covered in work.ranges})
        for topic, number in Counter(map(_topic, work.events)).items():
            counters[f"processed|{topic}"] += number
        for letter in work.letters:
            counters[f"processed|{self._topics[letter.record.topic]}"] += 1
        arrived = {covered.topic: counters[f"processed|{covered.topic}"] for covered in work.ranges}
        refused_at: dict[str, int] = {}
        for letter in letters:
            topic = self._topics[letter.record.topic]
            counters[f"processed|{topic}"] -= 1
            counters[f"rejected|{topic}|{letter.refused.reason}"] += 1
            refused_at[topic] = max(letter.record.timestamp, refused_at.get(topic, 0))
        marks = {f"{LAST_REFUSED}|{topic}": f"{moment / 1000:.3f}" for topic, moment in refused_at.items()}
        for newest, covered in zip(work.newest, work.ranges, strict=True):
            topic, field = covered.topic, partition_field(covered.topic, covered.partition)
            counters[f"batches|{topic}"] += 1
            # What this one takes is told by the next.
            counters[f"batch_microseconds|{topic}"] += int(self._seconds_of[topic] * 1_000_000)
            self._seconds_of[topic] = 0.0
            marks[f"last_commit|{field}"] = f"{time.time():.3f}"
            if newest is not None:
                marks[f"last_event|{field}"] = f"{newest / 1000:.3f}"
        return Commit(
            work.ranges,
            seen=merge.versions,
            writes=outcome.writes,
            cells=outcome.cells,
            counters=counters,
            marks=marks,
            heartbeats=_newest_heartbeats(work.heartbeats) if work.heartbeats else (),
            arrived={topic: (came, came - counters[f"processed|{topic}"]) for topic, came in arrived.items() if came},
        )

    def _is_in(self, answer: Answer) -> bool:
        """Tell whether a commit was applied; tell people once of a topic that has too many feeds."""
        if not isinstance(answer, Committed):
            return False
        for topic in set(answer.without_room) - self._told_without_room:
            self._told_without_room.add(topic)
            log.warning(
                "%s: heartbeats come from more than %d feeds; those of the others are not noted. Does each process or each "
                "run make up a name of its own? See docs/alerts.md",
                topic,
                MOST_FEEDS,
            )
        return True

    def _verdict(self, answer: Answer, work: Work) -> Elsewhere | None:
        if self._is_in(answer):
            return None
        match answer:
            case Elsewhere(stored):
                # An earlier try got through when the stored offset is already the one after.
                return None if stored == work.ranges[0].after else answer
            case OtherDefinitions(fingerprint):
                raise DefinitionsChangedError(
                    f"the tables are being made under other definitions (fingerprint {fingerprint}) than this worker's. "
                    "Give every worker the same settings and the same version of salesfx."
                )
        raise AssertionError(answer)


def _joined(works: Sequence[Work]) -> Work:
    return Work(
        batches=[work.batch for work in works],
        ranges=[covered for work in works for covered in work.ranges],
        events=list(chain.from_iterable(work.events for work in works)),
        letters=list(chain.from_iterable(work.letters for work in works)),
        heartbeats=list(chain.from_iterable(work.heartbeats for work in works)),
        newest=list(chain.from_iterable(work.newest for work in works)),
        seconds=sum(work.seconds for work in works),
    )


def _newest_heartbeats(heartbeats: Sequence[Heard]) -> list[tuple[str, str, str]]:
    """Give topic, feed and time of the newest of each feed; of a topic's feeds no more than could find room, and one."""
    newest: dict[tuple[str, str], float] = {}
    for heard in heartbeats:
        at = heard.topic, heard.heartbeat.feed
        newest[at] = max(heard.seconds, newest.get(at, 0.0))
    room = Counter({topic: MOST_FEEDS + 2 for topic, _ in newest})
    kept = []
    for (topic, feed), moment in sorted(newest.items(), key=lambda one: (one[0][1] != WORKER, -one[1])):
        room[topic] -= 1
        if room[topic] >= 0:
            kept.append((topic, feed, f"{moment:.3f}"))
    return kept


def _rejected(work: Work, outcome: Outcome) -> list[DeadLetter]:
    records = _by_place(work) if outcome.rejections else {}
    return [DeadLetter(records[_place(event)], why) for event, why in outcome.rejections]


def _by_place(work: Work) -> dict[tuple[str, int, int], Record]:
    """Give the records by what `_place` tells of their events."""
    return {
        (covered.topic, covered.partition, record.offset): record
        for batch, covered in zip(work.batches, work.ranges, strict=True)
        for record in batch.records
    }


def _place(event: Event) -> tuple[str, int, int]:
    return event.topic, event.standing.partition, event.standing.offset


def _note_conflict(merge: Merge, work: Work, conflict: Conflict) -> None:
    where = ", ".join(map(str, work.ranges))
    log.debug("%s: %d records were changed meanwhile; merging again", where, len(conflict.refs))
    merge.note_changed(conflict.refs)


_NOTHING = Outcome({}, {}, [])


def _without_place(work: Work, full: AccountFullError) -> DeadLetter:
    """Refuse the only event of a batch's part."""
    refused = Refused(Reason.TOO_MANY_ENTITIES, f"{full} has {MAX_ENTITIES} deals and quotes; no further one is merged")
    return DeadLetter(_by_place(work)[_place(work.events[0])], refused)


def _are_about_bounds(letters: Collection[DeadLetter]) -> bool:
    """Tell whether any is refused for want of a place, which depends on what others do meanwhile."""
    return any(letter.refused.reason is Reason.TOO_MANY_ENTITIES for letter in letters)


def _within(covered: Range, letters: list[DeadLetter]) -> list[DeadLetter]:
    return [letter for letter in letters if covered.before <= letter.record.offset < covered.after]
