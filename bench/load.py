"""Seeded events in a real Kafka, in the order of their publishing or out of it."""

import asyncio
import json
import random
import string
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import dropwhile, islice
from typing import Self

import msgspec
from aiokafka import AIOKafkaProducer
from rich.progress import Progress, TaskID

from bench.contenders import peer_work
from bench.contenders.contender import Totals
from salesfx.events import EVENT_TYPES, TOPICS
from salesfx.kafka_log import KafkaLog
from salesfx.settings import Settings
from salesfx.simulator import load, simulate

SEED = 1
LEADS_PER_MONTH = 30_000
"""A large company: two years of it are a million events. Further ones are of others like it, in the same two years."""
_SHOWN_DAYS, _SETTLING_DAYS = 365, 150
"""The year before this month, and the time in which a simulated team's quotes and deals reach their level."""
_EVENTS_A_LEAD_OF_A_MONTH = 17
"""How many events such a year and a bit more has, for each lead of a month."""
LEAD, QUOTE, DEAL = TOPICS
QUOTED, WON = 10, 4
"""Of a hundred leads of `mixed`."""
SOURCES = tuple(
    f"{kind} {number}" for kind in ("website", "partner", "campaign", "trade fair") for number in range(1, 6)
)
PEOPLE = tuple(
    f"{first} {last}"
    for first in ("Ana", "Boris", "Elena", "Georgi", "Ivan", "Kalina", "Maria", "Nikola", "Petar", "Vera")
    for last in ("Dimitrova-Petrova", "Ilieva", "Kolev", "Stoyanova", "Todorov")
)
_SCATTER = 37
"""Has no factor in common with a hundred: every hundred leads have each rest once, and not in their order."""
_DIGITS = string.digits + string.ascii_letters
_PENDING = 20_000
_HELD_MS = 15 * 60 * 1000
"""How long events may be held, in milliseconds: the longest that Kafka allows by default."""

Message = tuple[str, bytes, bytes]
"""Topic, key, value."""


def in_order(count: int) -> Iterator[Message]:
    """Give events as CRMs publish them, with the little disorder that these have."""
    return load(SEED, count, LEADS_PER_MONTH)


def disordered(count: int, late: float, twice: float) -> Iterator[Message]:
    """Give the same events, some of them late by up to the whole of the load, and some of them again.

    Args:
        count: How many different events; what is published twice comes on top.
        late: The share of events that come at a later place, anywhere up to the end.
        twice: The share of events that come a second time, likewise.

    """
    chance = random.Random(SEED)  # noqa: S311 - a seeded load
    events = list(in_order(count))
    places = [(chance.uniform(at, count) if chance.random() < late else at, event) for at, event in enumerate(events)]
    places += [(chance.uniform(at, count), event) for at, event in enumerate(events) if chance.random() < twice]
    return (event for _, event in sorted(places))


def recent(count: int, today: date) -> Iterator[Message]:
    """Give events of the thirteen months up to a day, in the order of publishing: those that `/metrics` shows."""
    begin = datetime(today.year, today.month, 1, tzinfo=UTC) - timedelta(days=_SHOWN_DAYS)
    per_month = count // _EVENTS_A_LEAD_OF_A_MONTH + 1
    events = simulate(SEED, begin - timedelta(days=_SETTLING_DAYS), leads_per_month=per_month)
    encode = msgspec.json.Encoder().encode
    shown = dropwhile(lambda each: each.published_at < begin, events)
    return ((each.topic, each.key.encode(), encode(each.event)) for each in islice(shown, count))


def mixed(leads: int, today: date) -> Iterator[Message]:
    """Give leads of the thirteen months up to a day, of exactly a hundredth-wise share a quote and a won deal each.

    Of every hundred leads ten are quoted, four of these are won, each by an account of its own. Ids are as long as those
    of a CRM: 18 characters; an event's id is its entity's with the number of the version. Sources and salespeople are as
    many as `/metrics` shows.

    Args:
        leads: How many; a multiple of a hundred, for the shares to be exact.
        today: The last day.

    """
    chance = random.Random(SEED)  # noqa: S311 - a seeded load
    begin = datetime(today.year, today.month, 1, tzinfo=UTC) - timedelta(days=_SHOWN_DAYS)
    step = (datetime(today.year, today.month, today.day, tzinfo=UTC) - begin) / leads
    for number in range(leads):
        luck = number * _SCATTER % 100
        at, lead = begin + step * number, _crm_id("00Q", number)
        person = chance.choice(PEOPLE)
        yield _message(LEAD, lead, at, source=chance.choice(SOURCES), salesperson=person)
        if luck < QUOTED:
            quote, amount = _crm_id("0Q0", number), f"{chance.randrange(50_000, 5_000_000) / 100:.2f}"
            money = {"lead_id": lead, "salesperson": person, "amount": amount, "currency": "EUR"}
            yield _message(QUOTE, quote, at + timedelta(hours=5), need="reporting for the board", **money)
            if luck < WON:
                deal = {"quote_id": quote, "account_id": _crm_id("001", number), "outcome": "won", **money}
                yield _message(DEAL, _crm_id("006", number), at + timedelta(hours=9), **deal)


def _message(topic: str, key: str, at: datetime, **fields: str) -> Message:
    event = {"event_id": f"{key}-1", "occurred_at": at.isoformat(timespec="seconds"), EVENT_TYPES[topic].entity: key}
    return topic, fields.get("lead_id", key).encode(), msgspec.json.encode(event | fields)


def _crm_id(kind: str, number: int) -> str:
    """Write an id of 18 characters as the CRMs' are: the kind of entity, the place it was made, a number."""
    digits = ""
    for _ in range(9):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return f"{kind}5g0{digits}QAQ"


def expected(messages: Iterable[Message]) -> Totals:
    """Work out what every peer must come to."""
    records: dict[str, peer_work.Record] = {}
    cells: dict[str, int] = {}
    for _, _, value in messages:
        event = json.loads(value)
        for cell, number in peer_work.changes(records.setdefault(peer_work.home(event), {}), event).items():
            cells[cell] = cells.get(cell, 0) + number
    return peer_work.totals(cells)


def publish(settings: Settings, messages: Iterable[Message], total: int, progress: Progress) -> None:
    """Make the topics and publish messages to them, by aiokafka's own partitioner, in their order."""
    KafkaLog(settings).ensure_topics()
    asyncio.run(_publish(settings, messages, total, progress))


class Held:
    """Events that lie in Kafka and cannot be read yet, since their transaction is open; a context manager.

    So workers can start, share the partitions, and find a backlog all at once when it is released.
    """

    def __init__(self, settings: Settings, messages: Iterable[Message], total: int, progress: Progress) -> None:
        self._settings, self._messages, self._total, self._progress = settings, messages, total, progress
        self._loop = asyncio.Runner()
        self._producer: AIOKafkaProducer | None = None

    def __enter__(self) -> Self:
        KafkaLog(self._settings).ensure_topics()
        self._loop.run(self._send())
        return self

    async def _send(self) -> None:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka,
            linger_ms=20,
            max_batch_size=256 * 1024,
            transactional_id=self._settings.topic_prefix + "held",
            transaction_timeout_ms=_HELD_MS,
        )
        await self._producer.start()
        await self._producer.begin_transaction()
        await _sent(self._producer, self._settings, self._messages, self._total, self._progress)

    def release(self) -> None:
        """Let them be read."""
        assert self._producer is not None  # noqa: S101 - it was entered
        self._loop.run(self._producer.commit_transaction())

    def __exit__(self, *error: object) -> None:
        if self._producer is not None:
            self._loop.run(self._producer.stop())
        self._loop.close()


async def _publish(settings: Settings, messages: Iterable[Message], total: int, progress: Progress) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, linger_ms=20, max_batch_size=256 * 1024)
    async with producer:
        await _sent(producer, settings, messages, total, progress)


async def _sent(
    producer: AIOKafkaProducer, settings: Settings, messages: Iterable[Message], total: int, progress: Progress
) -> None:
    task = progress.add_task(f"publishing {settings.topic_prefix}", total=total)
    pending: list[asyncio.Future[object]] = []
    for topic, key, value in messages:
        pending.append(await producer.send(settings.kafka_topic(topic), value, key=key))
        if len(pending) >= _PENDING:
            await _flushed(pending, progress, task)
    await _flushed(pending, progress, task)
    progress.remove_task(task)


async def _flushed(pending: list["asyncio.Future[object]"], progress: Progress, task: TaskID) -> None:
    await asyncio.gather(*pending)
    progress.advance(task, len(pending))
    pending.clear()
