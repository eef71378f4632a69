"""What only a planted bug showed to be untested; `make mutants` plants them."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from copy import deepcopy
from datetime import date
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from aiokafka.consumer.fetcher import OffsetResetStrategy
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from salesfx.decoder import decode
from salesfx.definitions import Definitions, Rate
from salesfx.fold import decode_lead, decode_standing
from salesfx.rules import Rules
from salesfx.settings import load_settings
from salesfx.tables import MemoryTables
from salesfx.tables.layout import FIRST_GENERATION
from streams import app as app_module
from streams.agents import BatchHandler
from streams.app import build_app
from streams.batch import Batch, Partition
from streams.prefetched import Piece
from streams.transport import BatchConsumer, BatchConsumerThread, RebalanceListener
from tests.folding import FoldedTables
from tests.processing import process
from tests.unit.test_processor import LEADS, Bench, deal, lead, quote, record, reference

# What one fetch brings.

SOURCE = TP(*LEADS)


class Fetches:
    """A partition's state as aiokafka keeps it; each fetch brings some records and moves the position over a range."""

    active = True
    has_valid_position = True

    def __init__(self, *fetches: tuple[int, Mapping[int, bytes]]) -> None:
        """Make one.

        Args:
            fetches: Of each fetch the position after it, and its records by their offsets.

        """
        self._fetches = iter(fetches)
        self.position = 0

    def state_value(self, _partition: TP) -> "Fetches":
        """Give the state of the partition."""
        return self

    async def fetch_records(self, _consumer: Any, _partitions: set[TP], **_limits: Any) -> dict[TP, list[Any]]:
        """Fetch."""
        self.position, values = next(self._fetches)
        records = [record(LEADS, offset, value) for offset, value in values.items()]
        return {SOURCE: records} if records else {}

    async def batch(self) -> Batch | None:
        """Fetch as the transport does; None where it makes no batch of it."""
        consumer = SimpleNamespace(_subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=self)))
        thread: Any = SimpleNamespace(_fetch_records=self.fetch_records)
        found = await BatchConsumerThread._drained(thread, consumer, [SOURCE], 100)
        return Batch(LEADS, *found[SOURCE], epoch=0) if found else None


async def read_to_the_end(fetches: Fetches, count: int) -> Bench:
    """Process so many fetches, each of which must join the one before."""
    bench = await Bench().open()
    for _ in range(count):
        batch = await fetches.batch()
        if batch is not None:
            assert await process(bench.processor, batch) is None, f"{batch.before} is not where the stored offset is"
    return bench


async def test_a_batch_reaches_over_what_is_no_event() -> None:
    """Markers and aborted events before, between and after the events of a fetch: the next one joins it, to the end."""
    fetches = Fetches((5, {1: lead(1), 3: lead(2)}), (9, {6: lead(3)}))
    bench = await read_to_the_end(fetches, 2)
    assert bench.offset("lead_created") == 9
    assert bench.tables.cells() == reference(lead_created=[lead(1), lead(2), lead(3)])


async def test_a_range_without_events_is_a_batch() -> None:
    """An aborted transaction at the end of the log: the stored offset comes to the end, and the lag to 0."""
    bench = await read_to_the_end(Fetches((1, {0: lead(1)}), (7, {})), 2)
    assert bench.offset("lead_created") == 7
    assert bench.tables.cells() == reference(lead_created=[lead(1)])


async def test_a_fetch_that_finds_nothing_is_no_batch() -> None:
    """It would be a commit each half second."""
    assert await Fetches((0, {})).batch() is None


# Faust's loop, with a consumer's thread that is none.


_MANY = 30
"""Fetches after which all that is going to be read has been."""


class Log:
    """The consumer's thread, and one partition's log behind it."""

    def __init__(self, consumer: BatchConsumer, tp: TP, values: list[bytes]) -> None:
        self._consumer = consumer
        self._tp = tp
        self._records = [record(Partition(*tp), offset, value) for offset, value in enumerate(values)]
        self._most = 2
        self.position = 0
        self.fetches = 0
        self._fetcher = SimpleNamespace(_default_reset_strategy=OffsetResetStrategy.EARLIEST)

    def assignment(self) -> set[TP]:
        """Give the partitions that are ours."""
        return {self._tp}

    async def log_range(self, partitions: Collection[TP]) -> tuple[dict[TP, int], dict[TP, int]]:
        """Tell where the log begins and ends."""
        return dict.fromkeys(partitions, 0), dict.fromkeys(partitions, len(self._records))

    async def seek_wait(self, seeks: Mapping[TP, int]) -> None:
        """Seek, as Faust's thread does."""
        for tp, offset in seeks.items():
            self.position = offset
            self._consumer._read_offset[tp] = offset or None

    async def fetch_batches(self, partitions: Collection[TP], _timeout: float) -> dict[TP, Piece]:
        """Fetch a few records."""
        await asyncio.sleep(0)
        before, found = self.position, self._records[self.position :][: self._most]
        self.fetches += 1
        self.position += len(found)
        return dict.fromkeys(partitions, Piece(before, self.position, found)) if found else {}

    def reset_unknown_positions(self, *, allowed: bool) -> None:
        """Say whether the consumer may choose a position, as our thread does."""
        thread: Any = SimpleNamespace(_ensure_consumer=lambda: self)
        BatchConsumerThread.reset_unknown_positions(thread, allowed=allowed)

    def highwater(self, _tp: TP) -> int:
        """Tell where the log ends."""
        return len(self._records)


class Worker:
    """The whole worker, but for Kafka, Redis and Faust's services: its fetch loop is Faust's own."""

    def __init__(self, values: list[bytes]) -> None:
        settings = load_settings(environ={})
        self.tables = MemoryTables()
        with patch.object(app_module, "BatchHandler", self._keep_handler):
            self.app = build_app(settings, FIRST_GENERATION)
        self.consumer: Any = self.app.consumer
        self.tp = TP(settings.kafka_topic("lead_created"), 0)
        self.log = Log(self.consumer, self.tp, values)
        self.consumer._thread = self.log
        self.agent = self.app.agents["salesfx.lead_created"].fun

    def _keep_handler(self, *arguments: Any) -> BatchHandler:
        self.handler = BatchHandler(*arguments)
        return self.handler

    async def read(self, turning_point: int) -> None:
        """Read for a while; once so many batches were handled, Redis is put back to where it was at first.

        Each batch has been handled when Faust's loop goes on: one of the orders that may happen.
        """
        await self.consumer.perform_seek()
        at_first = deepcopy(self.tables.data)
        handled = 0

        async def deliver(message: Any) -> None:
            nonlocal handled
            await self.agent(_one(message.value))
            while self.handler.is_busy(message.value.source):  # noqa: ASYNC110 - nothing else runs meanwhile
                await asyncio.sleep(0)
            handled += 1
            if handled == turning_point:
                self.tables.data = deepcopy(at_first)

        self.consumer.callback = deliver
        self.consumer._set_active_tps({self.tp})
        self.consumer.resume_flow()
        fetcher: Any = SimpleNamespace(_stopped=SimpleNamespace(is_set=lambda: self.log.fetches > _MANY))
        processing = asyncio.create_task(self.handler.process_arrivals())
        await self.consumer._drain_messages(fetcher)
        processing.cancel()


async def _one(batch: Batch) -> AsyncIterator[Batch]:
    yield batch


@pytest.fixture
def no_servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryTables]:
    """Have the worker put together over tables in memory, and a Kafka that only knows who it is."""
    tables = MemoryTables()
    monkeypatch.setattr(app_module, "tables_of", lambda _settings, _generation: tables)
    monkeypatch.setattr(app_module, "KafkaLog", lambda _: SimpleNamespace(identity=lambda: {"cluster": "c1"}))
    return iter([tables])


async def test_what_is_read_again_reaches_the_agent(no_servers: Iterator[MemoryTables]) -> None:
    """After a Redis that went back, the events in between are handed over again: Faust drops none of them.

    It drops what lies below its read offset, which it sets after each message: a seek that comes before that is forgotten.
    """
    values = [lead(number) for number in range(6)]
    worker = Worker(values)
    worker.tables = next(no_servers)
    await worker.read(turning_point=2)
    assert await worker.tables.offsets() == {"lead_created:0": 6}
    assert worker.tables.data.counters["processed|lead_created"] == 6


@pytest.mark.usefixtures("no_servers")
async def test_after_our_seek_no_position_is_chosen_for_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """An offset that the log does not have any more is an error then; only a new assignment may begin without one."""
    worker = Worker([lead(1)])
    strategy = worker.log._fetcher
    assert await worker.consumer.seek_to_committed() == {worker.tp: 0}
    assert strategy._default_reset_strategy == OffsetResetStrategy.NONE
    listener = RebalanceListener(SimpleNamespace(reset_unknown_positions=worker.log.reset_unknown_positions))
    monkeypatch.setattr(driver.ConsumerRebalanceListener, "on_partitions_revoked", lambda _, revoked: revoked)
    listener.on_partitions_revoked({worker.tp})
    assert strategy._default_reset_strategy == OffsetResetStrategy.EARLIEST


# What the numbers mean.


@pytest.mark.parametrize(
    ("topic", "value", "ref"),
    [
        ("lead_created", lead(1), "lead:L1"),
        ("quote_sent", quote(1), "quote:Q1"),
        ("deal_closed", deal(1), "deal:D1"),
    ],
)
@pytest.mark.parametrize("batches", [1, 3])
def test_of_two_deliveries_the_first_in_the_log_is_the_origin(topic: str, value: bytes, ref: str, batches: int) -> None:
    """Whichever is read first, a number is explained by the same place in Kafka: the least partition and offset."""
    for order in ([(0, 7), (0, 9), (1, 2)], [(1, 2), (0, 9), (0, 7)], [(0, 9), (0, 7), (1, 2)]):
        tables = FoldedTables(Rules(Definitions()))
        events = [decode(topic, value, partition=partition, offset=offset) for partition, offset in order]
        for start in range(0, 3, 3 // batches):
            tables.fold(events[start : start + 3 // batches])
        stored = tables.records[ref]
        standing = decode_lead(stored).own if topic == "lead_created" else decode_standing(stored)
        assert standing is not None
        assert standing.origin == (0, 7), order


@pytest.mark.parametrize(("occurred_at", "value"), [("2026-05-31T20:30:00Z", 10000), ("2026-05-31T21:30:00Z", 5000)])
@pytest.mark.parametrize("recorded_at", ["2026-02-01T00:00:00Z", "2026-09-01T00:00:00Z", None])
def test_a_sale_is_converted_by_the_rate_of_its_day(occurred_at: str, value: int, recorded_at: str | None) -> None:
    """Not by that of the day when it was entered; the local date decides, as everywhere."""
    rates = [
        Rate(currency="USD", since=date(2026, 1, 1), per_euro=Decimal(1)),
        Rate(currency="USD", since=date(2026, 6, 1), per_euro=Decimal(2)),
    ]
    tables = FoldedTables(Rules(Definitions(rates=tuple(rates))))
    sale = json.loads(deal(1, occurred_at=occurred_at, recorded_at=recorded_at, amount="100", currency="USD"))
    tables.take([("deal_closed", json.dumps(sale).encode())])
    booked = [
        number for (_, field), number in tables.cells.items() if field == "booked_sales_value|category=new_account"
    ]
    assert booked == [value]


def categories(*sales: dict[str, Any]) -> list[str]:
    """Fold won deals of one account, told apart by their amounts, and give the category of each."""
    tables = FoldedTables(Rules(Definitions()))
    for number, sale in enumerate(sales):
        tables.take([("deal_closed", deal(number, account_id="A", amount=f"0.0{number + 1}", **sale))])
    found = {}
    for (_, field), hundredths in tables.cells.items():
        metric, _, category = field.partition("|category=")
        if metric == "booked_sales_value" and "," not in category:
            found[hundredths] = category
    return [found[number] for number in sorted(found)]


@pytest.mark.parametrize(
    ("ends", "closed", "category"),
    [
        ("2026-06-30", "2026-06-30T20:59:59Z", "expansion"),
        ("2026-06-30", "2026-06-30T21:00:00Z", "returning"),
        (None, "2027-03-06T12:00:00Z", "expansion"),
        (None, "2027-03-07T12:00:00Z", "returning"),
    ],
)
def test_the_last_covered_day_is_covered(ends: str | None, closed: str, category: str) -> None:
    """A renewal on that day is no customer who returned: the local day decides, of the contract or of a year."""
    first = {"occurred_at": "2026-03-06T10:00:00Z", "contract_ends_on": ends}
    assert categories(first, {"occurred_at": closed}) == ["new_account", category]


def test_a_small_order_does_not_end_a_long_contract() -> None:
    """The coverage that ends last decides, of all the earlier deals."""
    long = {"occurred_at": "2026-03-06T10:00:00Z", "contract_ends_on": "2028-12-31"}
    small = {"occurred_at": "2026-04-06T10:00:00Z", "contract_ends_on": "2026-04-30"}
    assert categories(long, small, {"occurred_at": "2026-08-06T10:00:00Z"}) == ["new_account", "expansion", "expansion"]
