"""A Kafka: a log with holes, its consumer group, and a consumer that runs the worker's own fetch loop."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Protocol

from aiokafka.errors import IllegalStateError
from faust.types import TP

from salesfx.kafka_log import KafkaAwayError
from streams.batch import Batch, Partition, Record
from streams.prefetched import Piece
from streams.steering import OffsetSteering
from streams.transport import BatchConsumer

FETCH_WAIT_SECONDS = 1.0
"""How long a fetch that finds nothing is held."""
_PAUSE_SECONDS = 0.5
_FETCH_RECORDS = 6
_BUFFERED_BATCHES = 2
_WAY_SECONDS = 0.02
_TIMESTAMP = 1_700_000_000_000

Positions = dict[TP, int]
Fetched = dict[TP, Piece]


class SimulatedLog:
    """The brokers, and what the admin client tells of them."""

    def __init__(self, partitions: Collection[Partition]) -> None:
        self.entries: dict[Partition, list[Record | None]] = {partition: [] for partition in partitions}
        """Records by offset; None where a marker or an aborted record lies."""
        self.away = False
        self._waiting: list[asyncio.Future[None]] = []

    def append(
        self, partition: Partition, value: bytes | None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> Record:
        """Append a record."""
        entries = self.entries[partition]
        record = Record(partition.topic, partition.partition, len(entries), _TIMESTAMP, b"k", value, headers)
        entries.append(record)
        self._wake()
        return record

    def append_hole(self, partition: Partition) -> None:
        """Append what takes an offset and is no record."""
        self.entries[partition].append(None)
        self._wake()

    def end(self, partition: Partition) -> int:
        """Tell the offset after the last entry."""
        return len(self.entries[partition])

    def identity(self) -> dict[str, str]:
        """Tell the ids of the cluster and the topics."""
        self._check_reachable()
        return {"cluster": "c"}

    def check_topics(self) -> None:
        """Find nothing wrong with the topics."""
        self._check_reachable()

    async def something_new(self) -> None:
        """Wait until something is appended, or for as long as a fetch is held."""
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiting.append(waiter)
        timer = loop.call_later(FETCH_WAIT_SECONDS, _release, waiter)
        await waiter
        timer.cancel()

    def _wake(self) -> None:
        for waiter in self._waiting:
            _release(waiter)
        self._waiting.clear()

    def _check_reachable(self) -> None:
        if self.away:
            raise KafkaAwayError("no broker answers")


@dataclass(eq=False)
class _Assignment:
    positions: dict[TP, int | None]
    active: bool = True


class SimulatedThread:
    """What a worker's consumer thread does: fetches, positions, seeks."""

    def __init__(self, log: SimulatedLog, chance: random.Random) -> None:
        self._log, self._chance = log, chance
        self._held = _Assignment({}, active=False)

    def assignment(self) -> Collection[TP]:
        """Tell what is assigned."""
        return self._held.positions.keys()

    def revoke(self) -> None:
        """Give everything back."""
        self._held.active = False

    def assign(self, partitions: Collection[Partition]) -> None:
        """Take partitions; some get a position before anybody seeks, as aiokafka chooses one by itself."""
        self._held = _Assignment({TP(*p): 0 if self._chance.random() < 0.5 else None for p in partitions})

    def seek(self, tp: TP, offset: int) -> None:
        """Move the position of an assigned partition."""
        if not self._held.active or tp not in self._held.positions:
            raise IllegalStateError(f"{tp} is not assigned")
        self._held.positions[tp] = offset

    async def fetch_batches(self, partitions: Collection[TP], _timeout: float) -> Fetched:
        """Fetch some entries of some partitions, whatever lies in between."""
        held = self._held
        before = {tp: at for tp in sorted(partitions) if (at := held.positions.get(tp)) is not None}
        if not held.active:
            before = {}
        if not before:
            await asyncio.sleep(_PAUSE_SECONDS)
            return {}
        await asyncio.sleep(self._chance.random() * _WAY_SECONDS)
        if self._log.away or all(at >= self._end(tp) for tp, at in before.items()):
            await self._log.something_new()
        if not held.active or self._log.away:
            return {}
        fetched: Fetched = {}
        for tp in before:
            at, end = held.positions[tp], self._end(tp)
            if at is None or at >= end or self._chance.random() < 0.3:
                continue
            after = min(end, at + 1 + int(self._chance.random() * _FETCH_RECORDS))
            held.positions[tp] = after
            entries = self._log.entries[Partition(*tp)][at:after]
            fetched[tp] = Piece(at, after, [record for record in entries if record is not None])
        return fetched

    async def positions(self) -> Positions:
        """Tell the position of every assigned partition that has one."""
        held = self._held
        return {tp: at for tp, at in held.positions.items() if at is not None} if held.active else {}

    async def log_range(self, partitions: Collection[TP]) -> tuple[Positions, Positions]:
        """Ask where the log begins and ends."""
        await asyncio.sleep(self._chance.random() * _WAY_SECONDS)
        if self._log.away:
            raise TimeoutError
        return dict.fromkeys(partitions, 0), {tp: self._end(tp) for tp in partitions}

    def reset_unknown_positions(self, *, allowed: bool) -> None:
        """Choose no positions after the first seek: none is ever out of this log's range."""

    def _end(self, tp: TP) -> int:
        return len(self._log.entries[Partition(*tp)])


class _Buffer:
    """The batches that wait for one agent."""

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque()
        self._filled = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Tell whether nothing more should be fetched for it."""
        return len(self._batches) >= _BUFFERED_BATCHES

    def put(self, batch: Batch) -> None:
        """Append a batch."""
        self._batches.append(batch)
        self._filled.set()

    def clear(self) -> None:
        """Forget what waits."""
        self._batches.clear()

    async def __aiter__(self) -> AsyncIterator[Batch]:
        while True:
            while not self._batches:
                self._filled.clear()
                await self._filled.wait()
            yield self._batches.popleft()


class SimulatedConsumer(BatchConsumer):
    """The worker's consumer: fetches and seeks are its own code, what Faust does around them is written after Faust's."""

    def __init__(
        self, thread: SimulatedThread, steering: OffsetSteering, topics: Collection[str], drops: Callable[[Batch], bool]
    ) -> None:
        """Make one; Faust's own beginnings, with its services and threads, are left out.

        Args:
            thread: Where it fetches.
            steering: Tells it where to read.
            topics: A buffer is made for each.
            drops: Decides which fetched batches are lost on their way to the agents.

        """
        self._thread = thread
        self.transport = SimpleNamespace(steering=steering)
        self.buffers = {topic: _Buffer() for topic in topics}
        self.rebalancing = True
        self._drops = drops
        self._flow = asyncio.Event()
        self._active: set[TP] = set()
        self._generation = 0
        self._read_offset: dict[TP, int] = {}
        self._handed_over = []

    def assignment(self) -> Collection[TP]:
        """Tell what is assigned."""
        return self._thread.assignment()

    async def seek_wait(self, partitions: dict[TP, int]) -> None:
        """Seek, as Faust's consumer thread does."""
        await asyncio.sleep(0)
        for tp, offset in partitions.items():
            self._thread.seek(tp, offset)
            if offset > 0:
                self._read_offset[tp] = offset
            else:
                self._read_offset.pop(tp, None)

    def revoked(self) -> None:
        """Stop, as Faust does when a rebalance begins: what waits is forgotten, what is being worked on goes on."""
        self.rebalancing = True
        self._generation += 1
        self._flow.clear()
        self._active.clear()
        self._thread.revoke()
        self._read_offset.clear()
        self._clear()

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """Begin, as Faust does when a rebalance ends: the flow goes on after the seek."""
        self._thread.assign(partitions)
        self._read_offset.update(await self.seek_to_committed())
        self._clear()
        self._active = {TP(*partition) for partition in partitions}
        self.rebalancing = False
        self._flow.set()

    async def drain(self) -> None:
        """Fetch for ever, as Faust's fetcher does."""
        while True:
            await asyncio.sleep(0)
            await self._flow.wait()
            active = {tp for tp in self._active if not self.buffers[tp.topic].is_full}
            if not active:
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            generation = self._generation
            fetched = await self._getmany(active, FETCH_WAIT_SECONDS)
            if generation == self._generation and self._flow.is_set():
                for tp, batches in fetched.items():
                    for batch in batches:
                        self._deliver(tp, batch)

    def _deliver(self, tp: TP, batch: Batch) -> None:
        if tp not in self._active or batch.before < self._read_offset.get(tp, 0) or self._drops(batch):
            return
        self.buffers[tp.topic].put(batch)
        self._read_offset[tp] = batch.before

    def _clear(self) -> None:
        for buffer in self.buffers.values():
            buffer.clear()


class Member(Protocol):
    """A worker, as the group sees it."""

    name: str

    def reassign(self, generation: int, partitions: Collection[Partition]) -> None:
        """Tell it what is its own now."""


@dataclass
class Group:
    """The consumer group. Members learn of a rebalance at their own time, and go on as they were until then."""

    partitions: list[Partition]
    chance: random.Random
    members: list[Member] = field(default_factory=list)
    generation: int = 0
    slow: float = 0.0
    """Longest seconds until a member learns of a rebalance."""

    def join(self, member: Member) -> None:
        """Have a member take part."""
        self.members.append(member)
        self.rebalance()

    def leave(self, member: Member) -> None:
        """Have a member's partitions taken over, where it was one."""
        if member in self.members:
            self.members.remove(member)
            self.rebalance()

    def rebalance(self) -> None:
        """Distribute the partitions anew."""
        self.generation += 1
        shares: dict[str, list[Partition]] = {member.name: [] for member in self.members}
        names = list(shares)
        for partition in self.partitions:
            if names:
                shares[self.chance.choice(names)].append(partition)
        loop = asyncio.get_running_loop()
        for member in self.members:
            wait = self.chance.random() * (self.slow if self.chance.random() < 0.3 else 0.1)
            loop.call_later(wait, member.reassign, self.generation, shares[member.name])


def _release(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
