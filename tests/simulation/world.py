"""One world: what happens in it, by seed, and what must hold in it all the same."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from unittest.mock import patch

import msgspec

from salesfx import heartbeat
from salesfx.audit.recomputation import RefusedError, read_event, recomputed_cells
from salesfx.decoder import decode
from salesfx.errors import NeedsAttentionError, SalesfxError
from salesfx.kpi import Cells
from salesfx.rules import Rules
from salesfx.tables.layout import DAYS, HOURS, VERSION_BYTES, partition_field, to_cells
from salesfx.tables.memory import MemoryData
from salesfx.tables.store import Answer, Commit, Committed
from streams.batch import Batch, Partition, Record
from tests.folding import FoldedTables
from tests.simulation.cluster import Group, SimulatedLog
from tests.simulation.events import DEFINITIONS, Message, pool
from tests.simulation.loop import SimulatedLoop
from tests.simulation.redis import SimulatedRedis
from tests.simulation.worker import (
    KAFKA_TOPICS,
    WATCHDOG_SECONDS,
    LetterBox,
    SimulatedWorker,
    Surroundings,
    simulated_surroundings,
)

PATIENCE_SECONDS = 45.0
"""Simulated seconds within which all must be well again once nothing goes wrong any more: less than the watchdog's time,
which would heal much by ending the worker."""
_EXCUSED_SECONDS = 2 * WATCHDOG_SECONDS
"""So long after a fault a worker may end and be started again."""
_CHECKED_COMMITS = 0.04
_HEARTBEATS, _FEEDS, _WHEN = 0.15, (heartbeat.WORKER, "crm"), datetime(2026, 11, 20, tzinfo=UTC)
"""Share of the events that a heartbeat follows."""
_RULES = Rules(DEFINITIONS)


@dataclass
class Outcome:
    """What became of one seed."""

    seed: int
    failure: str | None = None
    faults: Counter[str] = field(default_factory=Counter)
    events: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    """What was answered to commits."""
    prefixes: int = 0
    """Snapshots that were compared with the tables of their exact prefix, before the end."""
    healing_seconds: float = 0.0
    """Simulated time from the last fault until all was well."""
    steps: int = 0
    trace: list[str] = field(default_factory=list)


class World:
    """A log, a Redis, some workers, and what befalls them."""

    def __init__(self, seed: int, *, traced: bool = False) -> None:
        """Make one.

        Args:
            seed: Decides everything.
            traced: Whether what happens is written down.

        """
        self.outcome = Outcome(seed)
        self._traced = traced
        self._chance = chance = random.Random(seed)
        self.loop = SimulatedLoop(random.Random(f"order of {seed}"))
        self.loop.set_exception_handler(lambda _loop, context: self._fail(f"unexpected: {context}"))
        partitions = [Partition(name, n) for name in KAFKA_TOPICS for n in range(chance.choice((1, 1, 2)))]
        self.log = SimulatedLog(partitions)
        self.redis = SimulatedRedis(random.Random(f"redis of {seed}"), self._note, self._fault)
        self.redis.committed = self._committed
        self.group = Group(partitions, chance)
        self.letter_box = LetterBox(chance, self._fault)
        self.surroundings = Surroundings(
            self.log, self.letter_box, chance, self._drops, self._ended, self._fail, self._defect, self._note
        )
        self._partitions = partitions
        self._names = 0
        self._drop_share = 0.0
        self._last_fault = 0.0
        self._healed = self._over = False
        self._others: list[SimulatedWorker] = []
        self._reasons: dict[tuple[str, int, int], str | None] = {}
        self._heartbeats: set[tuple[str, int, int]] = set()
        self._pulse = random.Random(f"pulse of {seed}")

    def run(self) -> Outcome:
        """Live through it."""
        loop = self.loop
        try:
            story = loop.create_task(self._story())
            story.add_done_callback(lambda _: None if self._over else loop.stop())
            loop.run_forever()
            if story.done() and not story.cancelled() and (error := story.exception()) is not None:
                raise error
        except RuntimeError as error:
            self._fail(str(error))
        finally:
            self._clear_away()
        self.outcome.steps = loop.steps
        return self.outcome

    def _clear_away(self) -> None:
        loop, self._over = self.loop, True
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    # What happens.

    async def _story(self) -> None:
        chance = self._chance
        messages = chance.sample(pool(), chance.randint(10, 40))
        messages += [chance.choice(messages) for _ in range(chance.randrange(8))]
        for message in messages[: len(messages) // 2]:
            self._publish(message)
        self.outcome.events = len(messages)
        for _ in range(chance.choice((3, 4))):
            self._start()
        plan = self._faults()
        span = chance.choice((2, 12))  # in some worlds all of it comes while the workers are still beginning
        for message in messages[len(messages) // 2 :]:
            plan.append((chance.random() * span, partial(self._publish, message)))
        begin = self.loop.time()
        for at, do in sorted(plan, key=lambda step: step[0]):
            wait = begin + at - self.loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            do()
        self._heal()
        await self._until_quiet()
        if chance.random() < 0.1:  # nothing may move any more, however often the workers look
            await asyncio.sleep(8)
        self._check_end()

    def _faults(self) -> list[tuple[float, Callable[[], object]]]:
        """Decide which kinds of faults this world knows, and when they come."""
        chance = self._chance
        self.redis.trouble = chance.choice((0.0, 0.02, 0.1, 0.25))
        self.letter_box.trouble = chance.choice((0.0, 0.0, 0.3))
        self._drop_share = chance.choice((0.0, 0.0, 0.1))
        self.group.slow = chance.choice((0.1, 5.0, 20.0))
        kinds = [kind for kind in _FAULTS if chance.random() < 0.5]
        plan: list[tuple[float, Callable[[], object]]] = []
        for _ in range(chance.randrange(8) if kinds else 0):
            kind = chance.choice(kinds)
            plan.append((chance.random() * 15, partial(kind, self)))
        return plan

    def _publish(self, message: Message) -> None:
        chance = self._chance
        partition = chance.choice([p for p in self._partitions if KAFKA_TOPICS[p.topic] == message.topic])
        while chance.random() < 0.15:
            self.log.append_hole(partition)
        record = self.log.append(partition, message.value)
        self._reasons[record.topic, record.partition, record.offset] = message.reason
        self._note("crm", f"{partition} at {record.offset}", message.value)
        if self._pulse.random() < _HEARTBEATS:
            self._send_heartbeat(partition)
        if chance.random() < 0.1:
            self.log.append_hole(partition)

    def _send_heartbeat(self, partition: Partition) -> None:
        _, value, headers = heartbeat.message(self._pulse.choice(_FEEDS), _WHEN)
        record = self.log.append(partition, value, headers)
        self._heartbeats.add((record.topic, record.partition, record.offset))

    def _start(self) -> SimulatedWorker:
        worker = self._new_worker()
        self.group.join(worker)
        return worker

    def _new_worker(self) -> SimulatedWorker:
        self._names += 1
        name = f"w{self._names}"
        return SimulatedWorker(name, self.redis.client(name), self.surroundings)

    def _members(self) -> list[SimulatedWorker]:
        return [member for member in self.group.members if isinstance(member, SimulatedWorker)]

    def _ended(self, worker: SimulatedWorker, error: BaseException) -> None:
        """Look at a worker's last words, and start another in its place."""
        self._note(worker.name, "ended", str(error))
        self.outcome.faults["(worker ended itself)"] += 1
        if not isinstance(error, SalesfxError) or isinstance(error, NeedsAttentionError):
            self._fail(f"{worker.name} ended with {type(error).__name__}: {error}")
        elif self.loop.time() - self._last_fault > _EXCUSED_SECONDS:
            self._fail(f"{worker.name} ended though nothing was wrong: {error}")
        self._replace(worker)

    def _defect(self, worker: SimulatedWorker, error: Exception) -> None:
        """Let no exception pass that the worker takes for a defect of its own, though reading again may heal it."""
        self._fail(f"{worker.name} could not process a batch: {type(error).__name__}: {error}")

    def _replace(self, worker: SimulatedWorker) -> None:
        worker.kill()
        if worker in self.group.members:
            self.group.leave(worker)
            self.loop.call_later(self._chance.random() * 4, self._start)

    # Faults.

    def _crash(self) -> None:
        members = self._members()
        if members:
            self._fault("worker: killed")
            self._replace(self._chance.choice(members))

    def _come_and_go(self) -> None:
        members = self._members()
        if len(members) > 2 or (len(members) > 1 and self._chance.random() < 0.5):
            self._fault("worker: removed")
            worker = self._chance.choice(members)
            self.group.leave(worker)
            # It learns of it late: until then it goes on.
            self.loop.call_later(self._chance.random() * 10, worker.kill)
            self._others.append(worker)
        else:
            self._fault("worker: added")
            self._start()

    def _rebalance(self) -> None:
        self._fault("group: rebalanced")
        self.group.rebalance()

    def _second_writer(self) -> None:
        self._fault("worker: a second one of every partition")
        worker = self._new_worker()
        worker.reassign(0, self._partitions)
        self._others.append(worker)
        self.loop.call_later(self._chance.random() * 15, worker.kill)

    def _flush(self) -> None:
        self._fault("redis: flushed")
        self.redis.flush()

    def _restore_backup(self) -> None:
        self.redis.copy()
        self.loop.call_later(self._chance.random() * 12, self._restore, False)

    def _fail_over(self) -> None:
        self.redis.copy()
        self.loop.call_later(self._chance.random() * 1.5, self._restore, True)

    def _restore(self, latest: bool) -> None:
        if not self._healed:
            self._fault("redis: failed over, writes missing" if latest else "redis: an older copy put back")
            self.redis.restore(latest=latest)

    def _redis_away(self) -> None:
        self._fault("redis: away")
        self.redis.go_away(True)
        self.loop.call_later(self._span(), self.redis.go_away, False)

    def _kafka_away(self) -> None:
        self._fault("kafka: away")
        self.log.away = True
        self.loop.call_later(self._span(), self._kafka_back)

    def _kafka_back(self) -> None:
        self.log.away = False

    def _span(self) -> float:
        return self._chance.choice((0.3, 3.0, 12.0, 12.0, 1.5 * WATCHDOG_SECONDS)) * self._chance.random()

    def _drops(self, _batch: Batch) -> bool:
        dropped = self._drop_share > 0 and self._chance.random() < self._drop_share
        if dropped:
            self._fault("kafka: a fetched batch dropped")
        return dropped

    def _heal(self) -> None:
        self._note("world", "healed")
        self._healed = True
        self.redis.trouble = self.letter_box.trouble = self._drop_share = 0.0
        self.group.slow = 0.1
        self.redis.go_away(False)
        self._kafka_back()
        for worker in self._others:
            worker.kill()
        self._last_fault = self.loop.time()

    # What must hold.

    async def _until_quiet(self) -> None:
        begin = self.loop.time()
        ends = {partition_field(KAFKA_TOPICS[p.topic], p.partition): self.log.end(p) for p in self._partitions}
        while self.redis.on_its_way or self.redis.tables.data.offsets != ends:
            if self.loop.time() - begin > PATIENCE_SECONDS:
                self._fail(f"not quiet: stored are {self.redis.tables.data.offsets}, the log ends at {ends}")
                return
            await asyncio.sleep(0.2)
        self.outcome.healing_seconds = self.loop.time() - begin

    def _committed(self, commit: Commit, answer: Answer) -> None:
        self.outcome.answers[type(answer).__name__] += 1
        if isinstance(answer, Committed):
            for topic in {covered.topic for covered in commit.ranges}:
                self._check_counters(topic)
            if self._chance.random() < _CHECKED_COMMITS:
                self.outcome.prefixes += 1
                self._check_cells("the tables at a commit")

    def _prefix(self) -> Iterator[Record]:
        """Give the records that the stored offsets say are in; heartbeats are as if they were not there."""
        offsets = self.redis.tables.data.offsets
        for partition, entries in self.log.entries.items():
            stored = offsets.get(partition_field(KAFKA_TOPICS[partition.topic], partition.partition), 0)
            for record in entries[:stored]:
                if record is not None and (record.topic, record.partition, record.offset) not in self._heartbeats:
                    yield record

    def _check_cells(self, what: str) -> None:
        events = [(KAFKA_TOPICS[record.topic], record.value) for record in self._prefix() if record.value]
        expected = recomputed_cells(events, DEFINITIONS)
        found = _cells(self.redis.tables.data)
        if found != expected:
            differing = {cell for cell in expected.keys() | found.keys() if expected.get(cell) != found.get(cell)}
            some = sorted((*cell, expected.get(cell, 0), found.get(cell, 0)) for cell in differing)[:4]
            self._fail(
                f"{what} are not those of their prefix {self.redis.tables.data.offsets}: {len(differing)} cells differ, like {some}"
            )

    def _check_counters(self, topic: str) -> None:
        places = [(r.topic, r.partition, r.offset) for r in self._prefix() if KAFKA_TOPICS[r.topic] == topic]
        reasons = Counter(f"rejected|{topic}|{reason}" for place in places if (reason := self._reasons[place]))
        expected = {f"processed|{topic}": len(places) - reasons.total(), **reasons}
        found = {
            name: number
            for name, number in self.redis.tables.data.counters.items()
            if name == f"processed|{topic}" or (name.startswith(f"rejected|{topic}|") and number)
        }
        if found != expected:
            self._fail(f"the counters are {found}, not {expected}")

    def _check_end(self) -> None:
        self._check_cells("the tables at the end")
        for topic in KAFKA_TOPICS.values():
            if any(KAFKA_TOPICS[record.topic] == topic for record in self._prefix()):
                self._check_counters(topic)
        letters = {
            (letter.record.topic, letter.record.partition, letter.record.offset): str(letter.refused.reason)
            for letter in self.letter_box.letters
        }
        refused = {place: str(reason) for place, reason in self._reasons.items() if reason}
        if letters != refused:
            self._fail(f"the dead letters are {letters}, not {refused}")
        self._check_records()

    def _check_records(self) -> None:
        folded = FoldedTables(_RULES)
        folded.fold(
            [
                decode(KAFKA_TOPICS[record.topic], record.value, (), record.partition, record.offset)
                for record in self._prefix()
                if self._reasons[record.topic, record.partition, record.offset] in {None, "no_rate"}
            ]
        )
        expected = {ref: msgspec.msgpack.decode(record) for ref, record in folded.records.items()}
        found = {
            ref: msgspec.msgpack.decode(record[VERSION_BYTES:])
            for ref, record in self.redis.tables.data.records.items()
        }
        if found != expected:
            differing = {ref for ref in expected.keys() | found.keys() if expected.get(ref) != found.get(ref)}
            some = [(ref, expected.get(ref), found.get(ref)) for ref in sorted(differing)[:2]]
            self._fail(f"records differ from those of a plain fold: {some}")

    # Notes.

    def _fault(self, kind: str) -> None:
        self.outcome.faults[kind] += 1
        self._last_fault = self.loop.time()
        self._note("world", kind)

    def _note(self, who: str, what: str, *details: object) -> None:
        if self._traced and not self._over:
            shown = " ".join(map(repr, details))
            self.outcome.trace.append(f"{self.loop.time():10.4f} {who:6} {what} {shown}".rstrip())

    def _fail(self, why: str) -> None:
        if self._over:
            return
        if self.outcome.failure is None:
            self.outcome.failure = why
            self._note("world", "FAILED", why)
        if self.loop.is_running():
            self.loop.stop()


_FAULTS: list[Callable[[World], object]] = [
    World._crash,
    World._crash,
    World._come_and_go,
    World._rebalance,
    World._second_writer,
    World._flush,
    World._restore_backup,
    World._fail_over,
    World._redis_away,
    World._kafka_away,
]


def _cells(data: MemoryData) -> Cells:
    return to_cells((name, table) for name, table in data.tables.items() if name.startswith((DAYS, HOURS)))


def _steady_hash(partition: Partition) -> int:
    """Hash alike in every process, since the order of production's sets of partitions is an order of requests."""
    return 64 * len(partition[0]) + partition[1]


@contextmanager
def simulating() -> Iterator[None]:
    """Make production code fit for worlds, for as long as worlds are run."""
    logger = logging.getLogger("salesfx.worker")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with simulated_surroundings(), _remembered_events(), patch.object(Partition, "__hash__", _steady_hash):
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _remembered_events() -> Iterator[None]:
    """Have the reference read each event of the pool once: most of its time is for reading."""
    known: dict[tuple[Any, ...], Any] = {}

    def read_once(topic: str, value: bytes, definitions: Any, *rest: Any) -> Any:
        place = (topic, value, *rest)
        if place not in known:
            try:
                known[place] = read_event(topic, value, definitions, *rest)
            except RefusedError as refused:
                known[place] = refused.with_traceback(None)
        found = known[place]
        if isinstance(found, RefusedError):
            raise type(found)(*found.args)  # a new one: the old one would keep every world that it passes through
        return found

    with patch("salesfx.audit.recomputation.cells.read_event", read_once):
        yield


def run_seed(seed: int, *, traced: bool = False) -> Outcome:
    """Live through one world, inside of `simulating`."""
    return World(seed, traced=traced).run()
