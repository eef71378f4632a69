"""Where partitions are read from, and the sentences with which a worker ends that must not seek."""

import asyncio
import threading
from collections.abc import Collection
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from redis.exceptions import ConnectionError as RedisAwayError

from salesfx.definitions import Definitions
from salesfx.errors import SalesfxError
from salesfx.kafka_log import KafkaAwayError
from salesfx.tables import MemoryTables
from salesfx.tables.layout import LOG_START
from streams import steering as module
from streams.batch import Batch, Partition
from streams.steering import OffsetSteering, start_at_log_start
from streams.transport import Offsets

TOPICS = {"x.lead_created": "lead_created", "x.deal_closed": "deal_closed"}
A, B, C = Partition("x.lead_created", 0), Partition("x.lead_created", 1), Partition("x.deal_closed", 0)


class Ended(BaseException):
    """In place of the end of the process."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.status = error.exit_status if isinstance(error, SalesfxError) else 1


@pytest.fixture(autouse=True)
def no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise where the process would end."""

    def end(error: BaseException) -> None:
        raise Ended(error)

    monkeypatch.setattr(module, "end_process", end)


class Log:
    """A Kafka with a range for each partition."""

    def __init__(self) -> None:
        self.ids = {"cluster": "c1", "topic:lead_created": "t1", "topic:deal_closed": "t2"}
        self.begins, self.ends = dict.fromkeys((A, B, C), 0), dict.fromkeys((A, B, C), 100)
        self.threads: set[str] = set()

    def identity(self) -> dict[str, str]:
        """Tell the ids."""
        self.threads.add(threading.current_thread().name)
        return dict(self.ids)

    async def range(self, partitions: Collection[Partition]) -> tuple[Offsets, Offsets]:
        """Tell where the logs begin and end."""
        return {p: self.begins[p] for p in partitions}, {p: self.ends[p] for p in partitions}


@pytest.fixture
def log() -> Log:
    """Make a Kafka."""
    return Log()


@pytest.fixture
async def tables() -> MemoryTables:
    """Tables without offsets."""
    made = MemoryTables()
    await made.open(Definitions())
    return made


def steers(tables: Any, log: Log, definitions: Definitions | None = None) -> OffsetSteering:
    """Make a steering over fakes."""
    return OffsetSteering(tables, definitions or Definitions(), log, TOPICS)  # type: ignore[arg-type]


async def test_the_stored_offsets_are_where_partitions_are_read_from(tables: MemoryTables, log: Log) -> None:
    """A partition without one is read from the beginning of a log that is whole, and that is stored."""
    tables.data.offsets = {"lead_created:0": 40, "deal_closed:0": 100}
    assert await steers(tables, log).starting_points([A, B, C], log.range) == {A: 40, B: 0, C: 100}
    assert tables.data.offsets == {"lead_created:0": 40, "lead_created:1": 0, "deal_closed:0": 100}
    assert tables.data.log == log.ids
    assert log.threads, "the admin client was asked"
    assert threading.main_thread().name not in log.threads, "it blocks, so not in the event loop"


async def test_an_offset_that_another_worker_stored_meanwhile_is_no_other_log(
    tables: MemoryTables, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has grown since its end was asked for, and the other worker has committed beyond that end."""

    async def start_at(topic: str, partition: int, offset: int) -> int:
        log.ends[B] = 140
        return 120 if (topic, partition, offset) == ("lead_created", 1, 0) else offset

    monkeypatch.setattr(tables, "start_at", start_at)
    assert await steers(tables, log).starting_points([B], log.range) == {B: 120}


async def test_a_worker_that_finds_empty_tables_makes_them_under_its_definitions(log: Log) -> None:
    """Redis may have lost everything while the worker was running: its seek opens the tables again."""
    tables = MemoryTables()
    await steers(tables, log).starting_points([A], log.range)
    assert tables.data.fingerprint == Definitions().fingerprint


@pytest.mark.parametrize("begin", [1, 60])
async def test_a_log_without_its_beginning_asks_for_a_decision(tables: MemoryTables, log: Log, begin: int) -> None:
    """Nothing is stored for the partition then; with --from-log-start the log's beginning is, and that it was so."""
    log.begins[B] = begin
    sentence = rf"no offset is stored for x.lead_created\[1\], and its log begins at {begin}: .*--from-log-start"
    with pytest.raises(Ended, match=sentence) as ended:
        await steers(tables, log).starting_points([A, B], log.range)
    assert ended.value.status == 2
    assert "lead_created:1" not in tables.data.offsets
    await start_at_log_start(tables, {("lead_created", 0): (0, 100), ("lead_created", 1): (begin, 100)})
    assert await steers(tables, log).starting_points([A, B], log.range) == {A: 0, B: begin}
    assert tables.data.offsets == {"lead_created:0": 0, "lead_created:1": begin}
    assert tables.data.log[f"{LOG_START}lead_created:1"] == str(begin)
    assert f"{LOG_START}lead_created:0" not in tables.data.log


async def test_with_an_archive_there_is_another_way(tables: MemoryTables, log: Log) -> None:
    """The archive has what Kafka has forgotten, so the tables can be made whole; without one that is not said."""
    log.begins[B] = 60
    for stored in ({}, {"lead_created:1": 50}):
        tables.data.offsets = dict(stored)
        steering = OffsetSteering(tables, Definitions(), log, TOPICS, "/srv/archive")  # type: ignore[arg-type]
        with pytest.raises(Ended, match="`salesfx rebuild` make the tables from the archive in /srv/archive"):
            await steering.starting_points([B], log.range)
        with pytest.raises(Ended, match=r"^(?!.*rebuild)"):
            await steers(tables, log).starting_points([B], log.range)


async def test_a_stored_offset_is_kept_by_from_log_start(tables: MemoryTables) -> None:
    """The option may stay in a service's command line: it decides only where nothing is stored."""
    tables.data.offsets = {"lead_created:1": 70}
    await start_at_log_start(tables, {("lead_created", 1): (60, 100)})
    assert tables.data.offsets == {"lead_created:1": 70}
    assert tables.data.log == {}


@pytest.mark.parametrize(
    ("stored", "sentence"), [(9, "is 9, but its log begins only at 10"), (91, "is 91, but its log ends already at 90")]
)
@pytest.mark.parametrize("at_assignment", [True, False])
async def test_no_seek_leaves_the_log(
    tables: MemoryTables, log: Log, stored: int, sentence: str, at_assignment: bool
) -> None:
    """Neither at an assignment nor at any other seek."""
    log.begins[A], log.ends[A] = 10, 90
    tables.data.offsets = {"lead_created:0": stored}
    steering = steers(tables, log)
    steering.read_again(A, "for the test")
    seek = steering.starting_points if at_assignment else steering.pending_seeks
    with pytest.raises(Ended, match=rf"the stored offset of x.lead_created\[0\] {sentence}") as ended:
        await seek([A], log.range)
    assert ended.value.status == 2
    for edge in (10, 90):
        tables.data.offsets = {"lead_created:0": edge}
        steering.read_again(A, "for the test")
        assert await seek([A], log.range) == {A: edge}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cluster", r"Kafka is another cluster \(id new, the tables were made from c1\)"),
        (
            "topic:deal_closed",
            r"Kafka has another topic deal_closed, made again since \(id new, the tables were made from t2\)",
        ),
    ],
)
async def test_another_log_is_refused_and_named(tables: MemoryTables, log: Log, name: str, sentence: str) -> None:
    """Whichever partitions are sought: offsets of another cluster or of a topic made again mean nothing."""
    steering = steers(tables, log)
    await steering.starting_points([A], log.range)
    log.ids[name] = "new"
    with pytest.raises(Ended, match=sentence) as ended:
        await steering.starting_points([A], log.range)
    assert ended.value.status == 2
    steering.read_again(A, "for the test")
    with pytest.raises(Ended, match=sentence):
        await steering.pending_seeks([A], log.range)


async def test_a_topic_that_is_missing_for_now_is_no_other_log(tables: MemoryTables, log: Log) -> None:
    """It may come back; its id is compared then."""
    steering = steers(tables, log)
    await steering.check_identity()
    del log.ids["topic:deal_closed"]
    await steering.check_identity()


async def test_changed_definitions_are_refused_at_the_seek(tables: MemoryTables, log: Log) -> None:
    """The sentence says what changed."""
    steering = steers(tables, log, Definitions(timezone="Europe/London"))
    with pytest.raises(
        Ended, match='timezone: the tables were made with "Europe/Sofia", now it is "Europe/London"'
    ) as ended:
        await steering.starting_points([A], log.range)
    assert ended.value.status == 2


async def test_a_seek_that_hangs_ends_the_process(
    tables: MemoryTables, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust would hang in it for ever and hold the partitions, which the sentence names."""
    monkeypatch.setattr(module, "SEEK_SECONDS", 0.01)

    async def hang() -> dict[str, int]:
        await asyncio.sleep(100)
        return {}

    monkeypatch.setattr(tables, "offsets", hang)
    with pytest.raises(Ended, match=r"gave no answer .* x.deal_closed\[0\], x.lead_created\[0\]") as ended:
        await steers(tables, log).starting_points([A, C], log.range)
    assert ended.value.status == 1


AWAY = [RedisAwayError("gone"), KafkaAwayError("gone"), KafkaError("gone"), OSError("gone")]


def fails(tables: MemoryTables, monkeypatch: pytest.MonkeyPatch, error: BaseException, *, times: int) -> None:
    """Have the question for the stored offsets fail that often."""
    offsets, left = tables.offsets, iter(range(times))

    async def fail() -> dict[str, int]:
        if next(left, None) is not None:
            raise error
        return await offsets()

    monkeypatch.setattr(tables, "offsets", fail)
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0)


@pytest.mark.parametrize("error", AWAY)
async def test_a_server_that_is_away_for_a_moment_is_asked_again(
    tables: MemoryTables, log: Log, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A Redis or a Kafka that is being restarted does not cost the worker."""
    fails(tables, monkeypatch, error, times=3)
    assert await steers(tables, log).starting_points([A], log.range) == {A: 0}


@pytest.mark.parametrize("error", AWAY)
async def test_a_server_that_stays_away_ends_the_process(
    tables: MemoryTables, log: Log, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """With what it said last."""
    fails(tables, monkeypatch, error, times=1_000_000)
    monkeypatch.setattr(module, "SEEK_SECONDS", 0.1)
    with pytest.raises(Ended, match=rf"gave no answer .*{type(error).__name__}: .*gone.* x.lead_created\[0\]") as ended:
        await steers(tables, log).starting_points([A], log.range)
    assert ended.value.status == 1


@pytest.mark.parametrize("error", [ValueError("gone"), SystemExit("gone"), AssertionError("gone")])
async def test_a_seek_that_fails_ends_the_process(
    tables: MemoryTables, log: Log, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Whatever it fails with: Faust would only log it, and the worker would go on from anywhere."""
    fails(tables, monkeypatch, error, times=1)
    with pytest.raises(Ended, match="gone"):
        await steers(tables, log).starting_points([A], log.range)


async def test_a_seek_that_is_cancelled_is_cancelled(tables: MemoryTables, log: Log) -> None:
    """A worker that is stopped while it seeks stops as any other."""
    never = asyncio.Event()

    async def hang(_: Collection[Partition]) -> tuple[Offsets, Offsets]:
        await never.wait()
        return {}, {}

    seek = asyncio.create_task(steers(tables, log).starting_points([A], hang))
    await asyncio.sleep(0.05)
    seek.cancel()
    with pytest.raises(asyncio.CancelledError):
        await seek


async def test_what_was_read_before_a_seek_is_stale(tables: MemoryTables, log: Log) -> None:
    """From the moment at which a partition is to be read again, and from each of its assignments on; only its batches."""
    steering = steers(tables, log)
    await steering.starting_points([A, B], log.range)
    old = {p: Batch(p, 0, 10, [], steering.epoch(p)) for p in (A, B)}
    assert all(map(steering.is_current, old.values()))
    steering.read_again(A, "for the test")
    assert not steering.is_current(old[A])
    assert steering.is_current(old[B])
    await steering.starting_points([A, B], log.range)
    assert not steering.is_current(old[B])
    assert steering.is_current(Batch(A, 0, 10, [], steering.epoch(A)))


async def test_a_seek_is_carried_out_once_and_only_where_the_partition_is_ours(tables: MemoryTables, log: Log) -> None:
    """A partition that was taken from us is sought by whoever has it now."""
    tables.data.offsets = {"lead_created:0": 4, "lead_created:1": 5, "deal_closed:0": 6}
    steering = steers(tables, log)
    assert await steering.pending_seeks([A, B, C], log.range) == {}
    steering.read_again(A, "for the test")
    steering.read_again(C, "for the test")
    assert await steering.pending_seeks([A, B], log.range) == {A: 4}
    assert await steering.pending_seeks([A, B, C], log.range) == {}
    steering.read_again(B, "for the test")
    await steering.starting_points([B], log.range)
    assert await steering.pending_seeks([A, B, C], log.range) == {}, "the assignment sought it"
