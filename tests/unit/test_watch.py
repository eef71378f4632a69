"""What the worker notices by looking, because nothing else would tell it."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisAwayError

from salesfx.errors import NeedsAttentionError
from salesfx.kafka_log import LogUnfitError
from salesfx.tables import MemoryTables
from streams.batch import Partition
from streams.ending import WorkerError
from streams.transport import Offsets
from streams.watch import CHECK_SECONDS, Watch

TOPICS = {"x.lead_created": "lead_created"}
A, B = Partition("x.lead_created", 0), Partition("x.lead_created", 1)
WATCHDOG = 60.0


class World:
    """Everything that the watch looks at, and its clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("streams.watch.time.monotonic", lambda: self.now)
        self.tables = MemoryTables()
        self.tables.data.offsets = {"lead_created:0": 10, "lead_created:1": 20}
        self.at: Offsets = {A: 10, B: 20}
        self.ends: Offsets = {A: 10, B: 20}
        self.again: list[Partition] = []
        self.busy: set[Partition] = set()
        self.trouble: str | None = None
        self.checks: list[str] = []
        self.unfit: Exception | None = None
        self.watch = Watch(self.tables, self, self, TOPICS, WATCHDOG, self)  # type: ignore[arg-type]

    async def look(self, *, later: float = 3.0) -> None:
        """Look, after some time."""
        self.now += later
        await self.watch.look(self)

    # The consumer.

    async def positions(self) -> Offsets:
        """Tell where the consumer stands."""
        return dict(self.at)

    async def log_range(self, partitions: list[Partition]) -> tuple[Offsets, Offsets]:
        """Tell where the logs begin and end."""
        return dict.fromkeys(partitions, 0), {partition: self.ends[partition] for partition in partitions}

    # The agents.

    def is_busy(self, partition: Partition) -> bool:
        """Tell whether the agent is at work."""
        return partition in self.busy

    # The steering, and Kafka's log.

    def read_again(self, partition: Partition, _why: str) -> None:
        """Note it."""
        self.again.append(partition)

    async def check_identity(self) -> None:
        """Note it."""
        self.checks.append("identity")

    def check_topics(self) -> None:
        """Note it."""
        self.checks.append("topics")
        if self.unfit:
            raise self.unfit


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Make a world where all is well."""
    return World(monkeypatch)


async def test_where_all_is_well_nothing_happens(world: World) -> None:
    """However long nothing comes."""
    for _ in range(100):
        await world.look()
    assert world.again == []


@pytest.mark.parametrize("stored", [None, 3, 15])
async def test_a_stored_offset_that_stays_elsewhere_is_read_from(world: World, stored: int | None) -> None:
    """Redis lost data, or has a backup back: told by two looks, for only that partition."""
    if stored is None:
        del world.tables.data.offsets["lead_created:0"]
    else:
        world.tables.data.offsets["lead_created:0"] = stored
        world.ends[A] = max(stored, 10)
    await world.look()
    assert world.again == []
    await world.look()
    assert world.again == [A]


async def test_a_worker_at_work_is_left_alone(world: World) -> None:
    """The position runs ahead of the commits: while either moves, or a batch is being worked on, nothing is lost."""
    world.ends[A] = 10_000
    for number in range(1, 5):
        world.at[A] = 10 + 100 * number
        await world.look()
    for number in range(1, 5):
        world.tables.data.offsets["lead_created:0"] = 10 + 50 * number
        await world.look()
    world.busy = {A}
    for _ in range(5):
        await world.look()
    assert world.again == []
    world.busy = set()
    await world.look()
    assert world.again == [A]


async def test_a_log_that_ends_before_the_stored_offset_ends_the_worker(world: World) -> None:
    """A negative lag has no good reason."""
    world.ends[B] = 19
    with pytest.raises(
        WorkerError, match=r"the stored offset of x.lead_created\[1\] is 20, beyond the end of its log at 19"
    ):
        await world.look()


async def test_nothing_committed_for_long_though_there_are_events_ends_the_worker(world: World) -> None:
    """The clock runs from the last progress, or from when there was nothing to do; the last trouble is told."""
    world.trouble = "TimeoutError: hung"
    await world.look(later=1000)
    world.ends[A] = 500
    await world.look(later=WATCHDOG - 1)
    world.tables.data.offsets["lead_created:0"] = world.at[A] = 11
    await world.look(later=30)
    await world.look(later=WATCHDOG - 1)
    with pytest.raises(WorkerError, match=r"nothing was committed of x.lead_created\[0\] for 61 s.*TimeoutError: hung"):
        await world.look(later=2)


async def test_a_partition_may_wait_behind_others_that_go_on(world: World) -> None:
    """With a long log to read each has its turn, which takes longer than the watchdog's time; but not for ever."""
    world.ends = {A: 500, B: 100_000}

    async def go_on() -> None:
        world.tables.data.offsets["lead_created:1"] = world.at[B] = world.at[B] + 10
        await world.look(later=10)

    for _ in range(50):
        await go_on()
    with pytest.raises(WorkerError, match=r"x.lead_created\[0\]"):
        await asyncio.gather(*(go_on() for _ in range(50)))


async def test_a_partition_that_comes_later_has_its_own_clock(world: World) -> None:
    """What another worker had until now is not late; what was taken from us is none of our business."""
    del world.at[A]
    world.ends[A] = 500
    for _ in range(30):
        await world.look()
    world.at = {A: 10}
    world.ends[B] = 500
    await world.look()
    await world.look(later=WATCHDOG - 1)
    with pytest.raises(WorkerError, match=r"x.lead_created\[0\]"):
        await world.look(later=2)


async def test_a_redis_that_is_away_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the watchdog ends it, with what Redis said last."""

    async def away() -> dict[str, int]:
        raise RedisAwayError("nobody there")

    await world.look()
    monkeypatch.setattr(world.tables, "offsets", away)
    await world.look(later=WATCHDOG - 1)
    with pytest.raises(WorkerError, match="Last trouble: ConnectionError: nobody there"):
        await world.look(later=2)


async def test_a_kafka_that_does_not_answer_is_waited_for_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the watchdog ends it."""

    async def away(_: list[Partition]) -> tuple[Offsets, Offsets]:
        raise TimeoutError

    await world.look()
    monkeypatch.setattr(world, "log_range", away)
    await world.look(later=WATCHDOG - 1)
    with pytest.raises(WorkerError, match=r"Redis or Kafka does not answer\. Last trouble: TimeoutError"):
        await world.look(later=2)


async def test_what_changes_by_hand_is_looked_at_every_minute(world: World) -> None:
    """The identity of the log, the topics' settings and Redis's policy; what is unfit ends the worker."""
    await world.look(later=CHECK_SECONDS - 1)
    assert world.checks == []
    await world.look(later=1)
    assert world.checks == ["identity", "topics"]
    await world.look(later=CHECK_SECONDS - 1)
    assert len(world.checks) == 2
    world.unfit = LogUnfitError("it forgets")
    with pytest.raises(NeedsAttentionError, match="it forgets"):
        await world.look(later=1)


async def test_a_rebalance_that_does_not_end_ends_the_worker(world: World) -> None:
    """After twice the watchdog's time; one that ends in time is forgotten."""
    for _ in range(3):
        world.watch.wait_for_rebalance()
        world.now += 2 * WATCHDOG
        world.watch.wait_for_rebalance()
        await world.look()
    world.watch.wait_for_rebalance()
    world.now += 2 * WATCHDOG + 1
    with pytest.raises(WorkerError, match="about to be distributed for 121 s"):
        world.watch.wait_for_rebalance()
