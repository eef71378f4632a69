"""The way of one batch: decode, load, fold, commit."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Collection, Mapping, Sequence
from contextlib import nullcontext
from operator import attrgetter
from typing import NamedTuple, Protocol, TypeVar

from salesfx.decoder import Event, decode
from salesfx.fold import AccountFullError, Fold, Outcome, TornReadError
from salesfx.lead import MAX_ENTITIES
from salesfx.refusal import Reason, Refused
from salesfx.rules import Rules
from salesfx.tables import Tables
from salesfx.tables.layout import VERSION_BYTES, partition_field
from salesfx.tables.store import (
    Answer,
    Commit,
    Committed,
    Conflict,
    DefinitionsChangedError,
    Elsewhere,
    OtherDefinitions,
)
from streams.batch import SMALL_BATCH, Batch
from streams.dead_letters import DeadLetter

_SLICE = 250
"""Records that are decoded in one go, in about a millisecond."""

_timestamp = attrgetter("timestamp")
_Answered = TypeVar("_Answered")

log = logging.getLogger("salesfx.worker")


class LetterBox(Protocol):
    """Where dead letters are put."""

    async def send(self, letters: Collection[DeadLetter]) -> None:
        """Return when they are safe."""


class Work(NamedTuple):
    """A batch, or a part of one, decoded."""

    batch: Batch
    before: int
    after: int
    events: list[Event]
    letters: list[DeadLetter]
    """Records that could not be decoded."""
    seconds: float
    """How long the decoding took."""
    begun: asyncio.Event
    """Set when it has its turn: from then on the one after it is best decoded."""


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
        self._turn = asyncio.Lock()
        """One large batch at a time reads and commits: quotes and their leads would only make conflicts for each other."""
        self._gap = asyncio.Event()
        """Whether that batch waits for a server, or there is none."""
        self._gap.set()

    async def process(self, work: Work) -> Elsewhere | None:
        """Take one batch to the tables.

        Returns:
            None when it is in. Elsewhere where the stored offset is not the batch's beginning: the partition is then to
            be read again from there.

        Raises:
            DefinitionsChangedError: The tables are being made under other definitions.

        """
        topic = self._topics[work.batch.source.topic]
        async with self._turn if len(work.events) > SMALL_BATCH else nullcontext():
            work.begun.set()
            started = time.perf_counter() - work.seconds
            self._gap.clear()
            try:
                return await self._settle(work, topic)
            finally:
                self._gap.set()
                self._seconds_of[topic] += time.perf_counter() - started

    async def process_together(self, works: Sequence[Work]) -> list[Work]:
        """Take small batches of one topic to the tables, each by a commit of its own, with the round trips of one.

        Returns:
            Those that are not in, for whatever reason: to be processed each by itself, which tells.

        """
        topic = self._topics[works[0].batch.source.topic]
        started = time.perf_counter() - sum(work.seconds for work in works)
        for work in works:
            work.begun.set()
        records = _ReadRecords(self._tables)
        try:
            folded = await self._folded(works, records)
        except (AccountFullError, TornReadError):
            return list(works)
        plain = [(work, each) for work, each in zip(works, folded, strict=True) if not each.letters]
        commits = []
        for work, each in plain:
            commits.append(self._commit(work, topic, records.only(each.refs), each.outcome, []))
            self._seconds_of[topic] = 0.0
        answers = await self._tables.commit_each(commits) if commits else []
        self._seconds_of[topic] += time.perf_counter() - started
        settled = {
            work.begun for (work, _), answer in zip(plain, answers, strict=True) if isinstance(answer, Committed)
        }
        return [work for work in works if work.begun not in settled]

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
        seconds = 0.0
        for start in range(0, len(batch.records), _SLICE):
            await self._gap.wait()
            started = time.perf_counter()
            for record in batch.records[start : start + _SLICE]:
                try:
                    events.append(decode(topic, record.value, record.headers, partition, record.offset))
                except Refused as refused:
                    letters.append(DeadLetter(record, refused))
            seconds += time.perf_counter() - started
            await asyncio.sleep(0)
        return Work(batch, batch.before, batch.after, events, letters, seconds, asyncio.Event())

    async def _settle(self, work: Work, topic: str) -> Elsewhere | None:
        records = _ReadRecords(self._tables)
        sent: set[bytes] = set()
        while True:
            try:
                [(outcome, letters, _)] = await self._folded([work], records)
            except AccountFullError as full:
                if len(work.events) > 1:
                    return await self._settle_halves(work, topic)
                outcome, letters = _NOTHING, [*work.letters, _without_place(work, full)]
            except TornReadError:
                if not await records.forget_changed():
                    raise  # it is not the reading: they contradict each other in the store itself
                continue
            if _are_about_bounds(letters) and await records.forget_changed():
                continue  # there may be a place by now
            unsent = [letter for letter in letters if letter.origin not in sent]
            if unsent:
                await self._waiting(self._letter_box.send(unsent))
                sent.update(letter.origin for letter in unsent)
            commit = self._commit(work, topic, records, outcome, letters)
            answer = await self._waiting(self._tables.commit(commit))
            if not isinstance(answer, Conflict):
                self._seconds_of[topic] = 0.0
                return self._verdict(answer, work)
            log.debug("%s: %d records were changed meanwhile; merging again", work.batch.source, len(answer.refs))
            records.forget(answer.refs)

    async def _folded(self, works: Sequence[Work], records: "_ReadRecords") -> list["_Folded"]:
        """Merge batches, each by itself, reading what is missing in `records`."""
        folds = [Fold(work.events, self._rules) for work in works]
        refs = [fold.first_reads() for fold in folds]
        await records.read(set().union(*refs))
        for known, fold in zip(refs, folds, strict=True):
            known.update(fold.homes_left(records.contents))
        await records.read(set().union(*refs))
        for fold in folds:
            fold.merge(records.contents)
        for known, fold in zip(refs, folds, strict=True):
            known.update(fold.accounts())
        await records.read(set().union(*refs))
        return [
            _Folded(outcome, work.letters + _rejected(work, outcome), known)
            for work, known, fold in zip(works, refs, folds, strict=True)
            for outcome in [fold.settle(records.contents)]
        ]

    async def _settle_halves(self, work: Work, topic: str) -> Elsewhere | None:
        """Find the events that an account has no place for, by halving; all others are merged."""
        events, half = work.events, len(work.events) // 2
        middle = events[half].standing.offset
        for part in (
            work._replace(after=middle, events=events[:half], letters=_between(work.letters, 0, middle)),
            work._replace(before=middle, events=events[half:], letters=_between(work.letters, middle, work.after)),
        ):
            elsewhere = await self._settle(part, topic)
            if elsewhere is not None:
                return elsewhere
        return None

    def _commit(
        self, work: Work, topic: str, records: "_ReadRecords", outcome: Outcome, letters: list[DeadLetter]
    ) -> Commit:
        partition = work.batch.source.partition
        field = partition_field(topic, partition)
        counters = Counter({f"rejected|{topic}|{letter.refused.reason}": 0 for letter in letters})
        counters.update(f"rejected|{topic}|{letter.refused.reason}" for letter in letters)
        counters[f"processed|{topic}"] = len(work.events) + len(work.letters) - len(letters)
        counters[f"batches|{topic}"] = 1
        counters[f"batch_microseconds|{topic}"] = int(self._seconds_of[topic] * 1_000_000)
        marks = {f"last_commit|{field}": f"{time.time():.3f}"}
        newest = max(map(_timestamp, work.batch.records), default=None)
        if newest is not None:
            marks[f"last_event|{field}"] = f"{newest / 1000:.3f}"
        return Commit(
            topic,
            partition,
            work.before,
            work.after,
            seen=records.versions,
            writes=outcome.writes,
            cells=outcome.cells,
            counters=counters,
            marks=marks,
        )

    @staticmethod
    def _verdict(answer: Answer, work: Work) -> Elsewhere | None:
        match answer:
            case Committed():
                return None
            case Elsewhere(stored):
                # An earlier try got through when the stored offset is already the one after.
                return None if stored == work.after else answer
            case OtherDefinitions(fingerprint):
                raise DefinitionsChangedError(
                    f"the tables are being made under other definitions (fingerprint {fingerprint}) than this worker's. "
                    "Give every worker the same settings and the same version of salesfx."
                )
        raise AssertionError(answer)


class _Folded(NamedTuple):
    """What a batch comes to."""

    outcome: Outcome
    letters: list[DeadLetter]
    refs: set[str]
    """The records that it rests on."""


def _rejected(work: Work, outcome: Outcome) -> list[DeadLetter]:
    by_offset = {record.offset: record for record in work.batch.records} if outcome.rejections else {}
    return [DeadLetter(by_offset[event.standing.offset], why) for event, why in outcome.rejections]


class _ReadRecords:
    """The records that were read for a batch, apart from their versions."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.contents: dict[str, bytes | None] = {}
        self.versions: dict[str, bytes] = {}

    async def read(self, refs: Collection[str]) -> None:
        """Read those that were not read yet."""
        missing = [ref for ref in refs if ref not in self.contents]
        if not missing:
            return
        for ref, record in (await self._tables.load(missing)).items():
            self.versions[ref] = b"" if record is None else record[:VERSION_BYTES]
            self.contents[ref] = None if record is None else record[VERSION_BYTES:]

    async def forget_changed(self) -> bool:
        """Have those read again that others have changed since; tell whether there are any."""
        current = await self._tables.load(list(self.versions))
        changed = [ref for ref, record in current.items() if (record or b"")[:VERSION_BYTES] != self.versions[ref]]
        self.forget(changed)
        return bool(changed)

    def forget(self, refs: Collection[str]) -> None:
        """Have them read again."""
        for ref in refs:
            del self.contents[ref], self.versions[ref]

    def only(self, refs: Collection[str]) -> "_ReadRecords":
        """Give some of them."""
        some = _ReadRecords(self._tables)
        some.contents = {ref: self.contents[ref] for ref in refs}
        some.versions = {ref: self.versions[ref] for ref in refs}
        return some


_NOTHING = Outcome({}, {}, [])


def _without_place(work: Work, full: AccountFullError) -> DeadLetter:
    """Refuse the only event of a batch's part."""
    refused = Refused(Reason.TOO_MANY_ENTITIES, f"{full} has {MAX_ENTITIES} deals and quotes; no further one is merged")
    offset = work.events[0].standing.offset
    return DeadLetter(next(record for record in work.batch.records if record.offset == offset), refused)


def _are_about_bounds(letters: Collection[DeadLetter]) -> bool:
    """Tell whether any is refused for want of a place, which depends on what others do meanwhile."""
    return any(letter.refused.reason is Reason.TOO_MANY_ENTITIES for letter in letters)


def _between(letters: list[DeadLetter], start: int, end: int) -> list[DeadLetter]:
    return [letter for letter in letters if start <= letter.record.offset < end]
