"""What touches the insides of Faust, and (with `salesfx.lenient_records`) of aiokafka; a contract test covers what it relies on.

Faust hands every record to the streams as a message with tasks of its own, which is what makes it slow. This driver hands
over one message for what has come of a partition: its value is a `Batch`. It reads committed records only, takes positions
in the consumer's own thread, and carries out every seek in the fetch loop, where nothing can overwrite it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import faust
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import OffsetResetStrategy
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    ConsumerStoppedError,
    CorruptRecordException,
    IllegalStateError,
    OffsetOutOfRangeError,
    UnsupportedCodecError,
)
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import Message

from salesfx.errors import NeedsAttentionError, SalesfxError
from salesfx.lenient_records import is_about_a_header_name, read_leniently
from streams.batch import SMALL_BATCH, Batch, Partition, Record
from streams.ending import WorkerError, end_process
from streams.prefetched import Piece, Prefetched

log = logging.getLogger("salesfx.worker")

SEEK_SECONDS = 10.0
"""Longest time for a seek; Faust would hang in it for ever, holding its partitions."""
_PAUSE_SECONDS = 0.05
"""Longest time between looks at what aiokafka holds: nothing tells of another assignment, or of a flow that goes on."""
LOG_RANGE_SECONDS = 8.0
"""Longest time for asking where the log begins and ends. aiokafka would try for its whole request timeout of 90 s, and
occupy one of the two workers of its thread meanwhile, through which every fetch and every seek goes."""
FETCH_MIN_BYTES = 100_000
FETCH_MAX_WAIT_MS = 5
"""The broker answers a fetch when it has so much, or after so long. What comes meanwhile comes together: one fetch for each event,
and one commit, would take several times the processor, and so be later. It also holds a fetch that finds nothing, and
aiokafka asks it for no other partition meanwhile, so that a long wait would let those that are behind wait for the others."""
PREFETCH_BACKOFF_SECONDS = 0.005
"""How long aiokafka waits for fetched records to be taken before it asks for the other partitions without theirs."""
_OTHERS_SECONDS = 0.02
"""Longest wait for records of some partitions while others wait for their agents: these are to be read on soon."""
_FULL_SECONDS = 0.005
"""Between looks while no partition is to be read on."""
_FORGOTTEN_SECONDS = 5.0
"""After that a batch is not waited for: it may have been dropped on its way, as in a rebalance."""
MOST_WAITING = 64_000
"""Records that may wait for agents, of all partitions together: what a worker holds in memory has a bound."""
MOST_PREFETCHED_BYTES = 64 * 1024 * 1024
"""What may wait to be handed over, of all partitions together."""

Offsets = dict[Partition, int]
LogRange = Callable[[Collection[Partition]], Awaitable[tuple[Offsets, Offsets]]]
"""Gives the first offsets of the log, and those after its last committed record."""


class Steering(Protocol):
    """Who knows where each partition is to be read from."""

    async def starting_points(self, partitions: Collection[Partition], log_range: LogRange) -> Offsets:
        """Give the checked offsets at which newly assigned partitions are to be read; does not return on failure."""

    async def pending_seeks(self, assigned: Collection[Partition], log_range: LogRange) -> Offsets:
        """Give the checked offsets of partitions that are to be read again from elsewhere."""

    def epoch(self, partition: Partition) -> int:
        """Tell the partition's epoch."""


class LeanPartitionRecords(fetcher.PartitionRecords):
    """aiokafka's reader of a fetch, which makes our records: a dataclass of eleven fields costs more than decoding it."""

    def __iter__(self) -> Any:
        """Give the generator of the records itself: one call less for each."""
        return self._records_iterator

    def _consumer_record(self, tp: TP, record: Any) -> Record:
        return Record(tp.topic, tp.partition, record.offset, record.timestamp, record.key, record.value, record.headers)


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """aiokafka's consumer, in its thread.

    What it fetches is taken from it at once: it asks a broker for those partitions only of which it holds nothing.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._prefetched = Prefetched(self.app.conf.broker_max_poll_records, MOST_PREFETCHED_BYTES)
        self._assignment: Any = None
        """To which that belongs."""
        self._news = asyncio.Event()
        """Something has been prefetched; like the next one it belongs to the thread."""
        self._stirred = asyncio.Event()
        """aiokafka has fetched something, or there is room for what it holds."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        fetcher.PartitionRecords = LeanPartitionRecords  # the fetcher makes them by this name
        # Faust asks for read_committed only in its exactly-once mode; aborted events must never count.
        consumer._isolation_level = "read_committed"
        # Partition n of every topic goes to one worker: the events of a lead have one key in all of them.
        consumer._partition_assignment_strategy = (RangePartitionAssignor,)
        consumer._fetch_min_bytes, consumer._fetch_max_wait_ms = FETCH_MIN_BYTES, FETCH_MAX_WAIT_MS
        return consumer

    async def on_start(self) -> None:
        """Start the consumer, have it fetch some partitions while records of others wait to be taken, and take them."""
        await super().on_start()
        consumer = self._ensure_consumer()
        consumer._fetcher._prefetch_backoff = PREFETCH_BACKOFF_SECONDS
        self.add_future(self._prefetch(consumer))

    async def _prefetch(self, consumer: Any) -> None:
        try:
            while not self.should_stop:
                self._stirred.clear()
                waiter = consumer._fetcher._create_fetch_waiter()
                waiter.add_done_callback(self._stir)
                await self._take_fetched(consumer)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PAUSE_SECONDS):
                        await self._stirred.wait()
                waiter.cancel()
        except (ConsumerStoppedError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing would be read any more
            end_process(error)

    def _stir(self, fetched: "asyncio.Future[None]") -> None:
        if not fetched.cancelled():
            self._stirred.set()

    async def _take_fetched(self, consumer: Any) -> None:
        """Take from aiokafka what it holds, as far as there is room."""
        assignment = _active_assignment(consumer)
        if assignment is None:
            return
        if assignment is not self._assignment:
            self._prefetched.clear()
            self._assignment = assignment
        partitions = {TP(*tp) for tp in assignment.tps}
        lacking = self._prefetched.lacking(partitions)
        while lacking and (pieces := await self._drained(consumer, lacking, consumer._max_poll_records)):
            for tp, piece in pieces.items():
                self._prefetched.add(tp, piece)
            self._news.set()
            lacking = self._prefetched.lacking(partitions)

    async def _drained(self, consumer: Any, partitions: Collection[TP], max_records: int) -> dict[TP, Piece]:
        """Give what aiokafka holds, with each partition's position before and after; positions cannot move meanwhile."""
        assignment = consumer._subscription.subscription.assignment
        before = _positions(assignment, partitions)
        if not before:  # aiokafka would take none for all
            return {}
        try:
            records = await self._fetch_records(consumer, set(before), timeout=0, max_records=max_records)
        except OffsetOutOfRangeError as error:
            end_process(_out_of_range(error))
        except (ConsumerStoppedError, asyncio.CancelledError):
            raise
        except Exception as error:
            if is_about_a_header_name(error):
                read_leniently(consumer._fetcher, before)
                return {}
            log.critical("reading failed", exc_info=error)
            end_process(_unreadable(before, error))
        if not assignment.active:
            return {}
        after = _positions(assignment, before)
        return {
            partition: Piece(start, after[partition], records.get(partition, []))
            for partition, start in before.items()
            if after.get(partition, start) != start
        }

    async def fetch_batches(self, partitions: Collection[TP], timeout: float) -> dict[TP, Piece]:
        """Give what has come of some partitions; where there is nothing, wait for it."""

        async def take() -> dict[TP, Piece]:
            self._news.clear()
            pieces = self._take_prefetched(partitions)
            if not pieces:
                with suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await self._news.wait()
                pieces = self._take_prefetched(partitions)
            return pieces

        result: dict[TP, Piece] = await self.call_thread(take)
        return result

    def _take_prefetched(self, partitions: Collection[TP]) -> dict[TP, Piece]:
        held = self._assignment is not None and self._assignment.active
        pieces = self._prefetched.take(partitions) if held else {}
        if pieces:
            self._stirred.set()
        return pieces

    async def _seek_wait(self, consumer: Any, partitions: Mapping[TP, int]) -> None:
        self._prefetched.drop(partitions)
        await super()._seek_wait(consumer, partitions)

    async def positions(self) -> dict[TP, int]:
        """Tell up to where every assigned partition that has a position was handed over."""

        async def read() -> dict[TP, int]:
            assignment = _active_assignment(self._ensure_consumer())
            if assignment is None:
                return {}
            positions = _positions(assignment, {TP(*tp) for tp in assignment.tps})
            if assignment is not self._assignment:
                return positions
            begun = {tp: self._prefetched.position(tp) for tp in positions}
            return positions | {tp: at for tp, at in begun.items() if at is not None}

        result: dict[TP, int] = await self.call_thread(read)
        return result

    async def log_range(self, partitions: Collection[TP]) -> tuple[dict[TP, int], dict[TP, int]]:
        """Ask Kafka for the first offset of each partition, and for the one after its last committed record."""

        async def ask() -> tuple[dict[TP, int], dict[TP, int]]:
            consumer = self._ensure_consumer()
            async with asyncio.timeout(LOG_RANGE_SECONDS):
                return await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)

        result: tuple[dict[TP, int], dict[TP, int]] = await self.call_thread(ask)
        return result

    def reset_unknown_positions(self, *, allowed: bool) -> None:
        """Say whether aiokafka may choose a position by itself.

        It must between an assignment and our first seek, since it finds no committed offset in Kafka. After that, an
        offset out of range means that the log was cut, and choosing another would lose events without a word.
        """
        strategy = OffsetResetStrategy.EARLIEST if allowed else OffsetResetStrategy.NONE
        self._ensure_consumer()._fetcher._default_reset_strategy = strategy


class RebalanceListener(driver.ConsumerRebalanceListener):
    """Lets aiokafka choose positions from the revocation until our seeks."""

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> Any:
        """Note that the positions of the next assignment are not known yet."""
        self._thread.reset_unknown_positions(allowed=True)
        return super().on_partitions_revoked(revoked)


class BatchConsumer(driver.Consumer):
    """Faust's consumer, whose messages are batches."""

    RebalanceListener = RebalanceListener

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._handed_over: list[tuple[TP, Batch, float]] = []
        """Batches that may not be in hand yet, and when they were given to their agents."""

    @property
    def steering(self) -> Steering:
        """Who knows where each partition is to be read from."""
        steering: Steering = self.transport.steering
        return steering

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek the assigned partitions to the offsets stored beside the tables."""
        partitions = {Partition(*tp): tp for tp in self.assignment()}
        if not partitions:
            return {}
        points = await self.steering.starting_points(list(partitions), self.log_range)
        seeks = {partitions[partition]: offset for partition, offset in points.items()}
        seeks = {tp: offset for tp, offset in seeks.items() if tp in self.assignment()}
        try:
            async with asyncio.timeout(SEEK_SECONDS):
                await self.seek_wait(seeks)
        except IllegalStateError:
            return {}  # revoked meanwhile: another assignment is on its way
        except Exception as error:  # noqa: BLE001 - Faust would hang in its recovery for ever
            end_process(
                WorkerError(f"the consumer could not be moved to the stored offsets: {type(error).__name__}: {error}")
            )
        self._thread.reset_unknown_positions(allowed=False)
        self._handed_over.clear()
        return seeks

    async def log_range(self, partitions: Collection[Partition]) -> tuple[Offsets, Offsets]:
        """Ask Kafka where the log of partitions begins and ends.

        Raises:
            TimeoutError: It does not answer.

        """
        begins, ends = await self._thread.log_range([TP(*partition) for partition in partitions])
        return {Partition(*tp): at for tp, at in begins.items()}, {Partition(*tp): at for tp, at in ends.items()}

    async def positions(self) -> Offsets:
        """Tell where the consumer stands in every assigned partition."""
        return {Partition(*tp): position for tp, position in (await self._thread.positions()).items()}

    async def _getmany(self, active_partitions: Collection[TP] | None, timeout: float) -> dict[TP, list[Batch]]:
        await self._carry_out_seeks()
        active = active_partitions or ()
        readable = self._readable(active)
        if active and not readable:
            await asyncio.sleep(_FULL_SECONDS)
            return {}
        epochs = {tp: self.steering.epoch(Partition(*tp)) for tp in readable}
        wait = timeout if len(readable) == len(active) else _OTHERS_SECONDS
        fetched = await self._thread.fetch_batches(readable, min(timeout, wait))
        batches = {
            tp: Batch(Partition(*tp), piece.before, piece.after, piece.records, epochs[tp])
            for tp, piece in fetched.items()
        }
        now = asyncio.get_running_loop().time()
        self._handed_over.extend((tp, batch, now) for tp, batch in batches.items())
        return {tp: [batch] for tp, batch in batches.items()}

    def _readable(self, partitions: Collection[TP]) -> list[TP]:
        """Name the partitions of which few records wait: what else comes makes a larger batch, instead of one more."""
        recent = asyncio.get_running_loop().time() - _FORGOTTEN_SECONDS
        self._handed_over = [each for each in self._handed_over if not each[1].is_taken and each[2] > recent]
        waiting: Counter[TP] = Counter()
        for tp, batch, _ in self._handed_over:
            waiting[tp] += len(batch.records)
        if waiting.total() >= MOST_WAITING:
            return []
        return [tp for tp in partitions if waiting[tp] <= SMALL_BATCH]

    async def _carry_out_seeks(self) -> None:
        assigned = {Partition(*tp): tp for tp in self.assignment()}
        seeks = await self.steering.pending_seeks(list(assigned), self.log_range)
        if seeks:
            still = self.assignment()
            await self.seek_wait({assigned[p]: offset for p, offset in seeks.items() if assigned[p] in still})

    def _to_message(self, tp: TP, record: Batch) -> Message:
        return driver.ConsumerMessage(
            tp.topic,
            tp.partition,
            record.before,
            None,
            None,
            (),  # headers stay with the records: a reply-to header must not let a producer make us write anywhere
            None,
            record,
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )


class BatchApp(faust.App):
    """An app that keeps nothing on disk."""

    def _create_directories(self) -> None:
        """Make none: Faust's are for the tables that we do not use."""


class BatchTransport(driver.Transport):
    """The driver; set it as `app.transport` before the first agent."""

    Consumer = BatchConsumer

    def __init__(self, *arguments: Any, steering: Steering, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.steering = steering


def _active_assignment(consumer: Any) -> Any:
    subscription = consumer._subscription.subscription
    assignment = None if subscription is None else subscription.assignment
    return assignment if assignment is not None and assignment.active else None


def _positions(assignment: Any, partitions: Collection[TP]) -> dict[TP, int]:
    """Read the positions of those partitions that have one."""
    states = {partition: assignment.state_value(partition) for partition in partitions}
    return {partition: state.position for partition, state in states.items() if state and state.has_valid_position}


def _unreadable(positions: Mapping[TP, int], error: Exception) -> SalesfxError:
    where = ", ".join(f"{tp.topic}[{tp.partition}] from {position}" for tp, position in sorted(positions.items()))
    if not isinstance(error, UnsupportedCodecError | CorruptRecordException | ValueError):
        return WorkerError(f"reading failed with {type(error).__name__}: {error}; at {where}")
    return NeedsAttentionError(
        f"there are records that Kafka's client cannot read: {type(error).__name__}: {error}. They lie in one of: {where}. Nothing is "
        "lost, but nothing after them counts. See with kafka-dump-log.sh or kafka-console-consumer.sh which record it is."
    )


def _out_of_range(error: OffsetOutOfRangeError) -> NeedsAttentionError:
    return NeedsAttentionError(
        f"Kafka does not have the offsets that come next any more ({error.args[0] if error.args else error}): a topic "
        "was cut, or deleted and made again. Start again to see which; to make the tables from the log that there is "
        "now, set `namespace` to a new name."
    )
