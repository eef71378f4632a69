"""Where each partition is read from: Redis decides, and every seek passes one check."""

import asyncio
import logging
from collections.abc import Collection, Mapping

from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from salesfx.definitions import Definitions
from salesfx.errors import NeedsAttentionError
from salesfx.kafka_log import KafkaAwayError, KafkaLog, OtherLogError, check_identity
from salesfx.tables import Tables, TablesGoneError
from salesfx.tables.layout import LOG_START, partition_field
from streams.batch import Batch, Partition
from streams.ending import WorkerError, end_process
from streams.transport import SEEK_SECONDS, LogRange, Offsets

log = logging.getLogger("salesfx.worker")

_PAUSE_SECONDS = 0.1
"""Between tries while Redis or Kafka is away."""


class OffsetSteering:
    """Steers the consumer by the offsets that are stored beside the tables."""

    def __init__(
        self,
        tables: Tables,
        definitions: Definitions,
        kafka_log: KafkaLog,
        topics: Mapping[str, str],
        archive: str | None = None,
    ) -> None:
        """Make one.

        Args:
            tables: Where the offsets are stored.
            definitions: Under which tables are made where Redis has lost everything.
            kafka_log: Tells the identity of the log.
            topics: Our names of the topics, by the names that they have in Kafka.
            archive: Folder of the archive, where there is one.

        """
        self._tables = tables
        self._definitions = definitions
        self._kafka_log = kafka_log
        self._topics = topics
        self._rebuild = (
            f"have `salesfx rebuild` make the tables from the archive in {archive} and the log, " if archive else ""
        )
        self._epochs: dict[Partition, int] = {}
        self._wanted: set[Partition] = set()

    def epoch(self, partition: Partition) -> int:
        """Tell the partition's epoch, which batches carry."""
        return self._epochs.get(partition, 0)

    def is_current(self, batch: Batch) -> bool:
        """Tell whether a batch was read since the partition's last seek."""
        return batch.epoch == self.epoch(batch.source)

    def read_again(self, partition: Partition, why: str) -> None:
        """Have the partition read again from its stored offset; what is read of it already is dropped."""
        log.info("%s is read again from its stored offset: %s", partition, why)
        self._epochs[partition] = self.epoch(partition) + 1
        self._wanted.add(partition)

    async def starting_points(self, partitions: Collection[Partition], log_range: LogRange) -> Offsets:
        """Give the stored offsets of newly assigned partitions, checked; ends the process where that fails."""
        for partition in partitions:
            self._epochs[partition] = self.epoch(partition) + 1
            self._wanted.discard(partition)
        offsets = await self._resolved_in_time(partitions, log_range)
        log.info("reading %s", ", ".join(f"{partition} from {offset}" for partition, offset in sorted(offsets.items())))
        return offsets

    async def pending_seeks(self, assigned: Collection[Partition], log_range: LogRange) -> Offsets:
        """Give the stored offsets of the partitions that are to be read again, checked."""
        if not self._wanted:
            return {}
        wanted = self._wanted & set(assigned)
        self._wanted.clear()
        return await self._resolved_in_time(wanted, log_range) if wanted else {}

    async def _resolved_in_time(self, partitions: Collection[Partition], log_range: LogRange) -> Offsets:
        trouble: BaseException | None = None
        try:
            async with asyncio.timeout(SEEK_SECONDS):
                while True:
                    try:
                        return await self._resolve(partitions, log_range)
                    except (RedisError, TablesGoneError, KafkaError, KafkaAwayError, OSError) as error:
                        trouble = error  # a server that is being restarted is no reason to end
                        await asyncio.sleep(_PAUSE_SECONDS)
        except TimeoutError:
            names = ", ".join(map(str, sorted(partitions)))
            why = f" ({type(trouble).__name__}: {trouble})" if trouble else ""
            end_process(
                WorkerError(
                    f"Redis or Kafka gave no answer within {SEEK_SECONDS:.0f} s{why} when the stored offsets of {names} "
                    "were asked for. The worker ends, so that another can take these partitions over; start it again when "
                    "they answer."
                )
            )
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, going on would be silent
            end_process(error)

    async def _resolve(self, partitions: Collection[Partition], log_range: LogRange) -> Offsets:
        await self._tables.open(self._definitions)  # a Redis that lost its data has lost these too
        await self.check_identity()
        stored = await self._tables.offsets()
        missing = [partition for partition in partitions if self._field(partition) not in stored]
        if missing:
            begins, _ = await log_range(missing)
            for partition in missing:
                stored[self._field(partition)] = await self._first_offset(partition, begins[partition])
        # After the offsets: another worker may have stored one, and gone beyond an end that was asked for before.
        begins, ends = await log_range(partitions)
        offsets = {partition: stored[self._field(partition)] for partition in partitions}
        for partition, offset in offsets.items():
            if not begins[partition] <= offset <= ends[partition]:
                raise _out_of_log(partition, offset, begins[partition], ends[partition], self._rebuild)
        return offsets

    async def check_identity(self) -> None:
        """Compare the cluster and the topics with those that the stored offsets belong to.

        Raises:
            OtherLogError: They are others.

        """
        found = await asyncio.to_thread(self._kafka_log.identity)
        check_identity(await self._tables.log_identity(found), found)

    def _field(self, partition: Partition) -> str:
        return partition_field(self._topics[partition.topic], partition.partition)

    async def _first_offset(self, partition: Partition, begin: int) -> int:
        if begin > 0:
            raise NeedsAttentionError(
                f"no offset is stored for {partition}, and its log begins at {begin}: the {begin} events before that "
                f"are gone from Kafka, so the tables cannot be complete. Put a backup of Redis back, {self._rebuild}or start with "
                "--from-log-start to count only what is there."
            )
        return await self._tables.start_at(self._topics[partition.topic], partition.partition, begin)


async def start_at_log_start(tables: Tables, ranges: Mapping[tuple[str, int], tuple[int, int]]) -> None:
    """Store first offsets, and beside them that events before these are not in the tables."""
    stored = await tables.offsets()
    for (topic, partition), (begin, _) in ranges.items():
        field = partition_field(topic, partition)
        if field not in stored and begin > 0:
            await tables.log_identity({f"{LOG_START}{field}": str(begin)})
            await tables.start_at(topic, partition, begin)
            log.warning("%s is counted from offset %d on: what was before is gone from Kafka", field, begin)


def _out_of_log(partition: Partition, offset: int, begin: int, end: int, rebuild: str) -> OtherLogError:
    where = "begins only at" if offset < begin else "ends already at"
    at = begin if offset < begin else end
    return OtherLogError(
        f"the stored offset of {partition} is {offset}, but its log {where} {at}: it was cut, or the topic was deleted "
        f"and made again. Put the log back, {rebuild if offset < begin else ''}or set `namespace` to a new name: its tables "
        "are then made from this log from the beginning."
    )
