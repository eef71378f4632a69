"""A publisher that never stops: a believable CRM, made worse."""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count, islice
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from salesfx.events import TOPICS
from salesfx.refusal import Reason
from salesfx.simulator import load
from tests.worker_process import Message, Site

GROUP, REASON = "soak-group", "soak-reason"
"""Headers: entities of different groups have nothing to do with each other; why the event is to be refused."""
_OWN_ID = {"lead_created": "lead_id", "quote_sent": "quote_id", "deal_closed": "deal_id"}
_ROUND = 20_000
"""Events after which the simulated load begins again with other ids."""
_WINDOW = 400
"""Events among which the order is disturbed."""
_RECENT = 4000
_DUPLICATES, _CORRECTIONS, _UNUSABLE, _HOT = 0.10, 0.06, 0.005, 0.03
_TICK = 0.05
_IN_FLIGHT = 20_000
_DELIVERY_MS = 180_000
"""How long an event is tried to be delivered: longer than Kafka is ever away."""


class Planned(NamedTuple):
    """One event that is to be published."""

    what: str
    """load, duplicate, correction, hot or unusable."""
    topic: str
    key: bytes
    value: bytes | None
    group: str
    reason: str = ""
    """For which it is to be refused."""

    @property
    def message(self) -> Message:
        """The message as it goes to Kafka."""
        headers = [(GROUP, self.group.encode())] + [(REASON, self.reason.encode())] * bool(self.reason)
        return Message(self.topic, self.value, self.key, headers)


def events(seed: int) -> Iterator[Planned]:
    """Give what is published, for ever; a pure function of the seed."""
    chance = random.Random(f"events {seed}")
    recent: deque[Planned] = deque(maxlen=_RECENT)
    numbers = count()
    for original in _disordered(seed, chance):
        luck = chance.random()
        if recent and luck < _DUPLICATES:
            yield chance.choice(recent)._replace(what="duplicate")
        elif recent and luck < _DUPLICATES + _CORRECTIONS:
            correction = _corrected(chance, recent, next(numbers))
            recent.append(correction)
            yield correction
        elif recent and luck < _DUPLICATES + _CORRECTIONS + _UNUSABLE:
            yield _unusable(chance, chance.choice(recent), next(numbers))
        elif luck > 1 - _HOT:
            yield _hot(chance, next(numbers))
        recent.append(original)
        yield original


def _disordered(seed: int, chance: random.Random) -> Iterator[Planned]:
    """Give the simulated load; each event may overtake some hundred others."""
    window: list[Planned] = []
    for number, (topic, key, value) in enumerate(load(seed, 10**12)):
        window.append(Planned("load", topic, key, value, str(number // _ROUND)))
        if len(window) > _WINDOW:
            yield window.pop(int(chance.random() ** 3 * len(window)))


def _corrected(chance: random.Random, recent: deque[Planned], number: int) -> Planned:
    """Give a later version of a recent event, which may change everything about it, or withdraw it."""
    old = chance.choice(recent)
    event = json.loads(old.value or b"")
    if chance.random() < 0.15:
        event = {name: event[name] for name in ("event_id", "occurred_at", _OWN_ID[old.topic])} | {"retracted": True}
    event["event_id"] = f"correction-{number}"
    event["revision"] = chance.randint(1, 9)  # not always a greater one
    other = chance.choice(recent)
    if other.group == old.group and other.topic == "lead_created" and old.topic != "lead_created":
        event["lead_id"] = other.key.decode()  # it moves to another lead
    elif "amount" in event:
        event["amount"] = f"{chance.randrange(100_000)}.{chance.randrange(100):02d}"
    else:
        event["source"] = chance.choice(["web", "Fair", "cold call", None])
    if chance.random() < 0.2:
        event["occurred_at"] = _some_instant(chance)
    return old._replace(what="correction", value=json.dumps(event).encode())


def _some_instant(chance: random.Random) -> str:
    return f"2024-{chance.randint(1, 12):02d}-{chance.randint(1, 28):02d}T{chance.randint(0, 23):02d}:30:00+03:00"


def _hot(chance: random.Random, number: int) -> Planned:
    """Give a version of one of a few entities, which all workers write at once."""
    topic = chance.choice(TOPICS)
    entity = f"hot-{chance.randrange(5 if topic == 'lead_created' else 40)}"
    event: dict[str, Any] = {
        "event_id": f"hot-{number}",
        _OWN_ID[topic]: entity,
        "revision": chance.randrange(10**6),
        "occurred_at": _some_instant(chance),
        "account_id": chance.choice(["hot-a", "hot-b", "hot-c", None]),
        "retracted": chance.random() < 0.05,
    }
    if topic != "lead_created":
        event |= {"lead_id": chance.choice([f"hot-{chance.randrange(5)}", None]), "currency": "EUR", "need": "n"}
        event |= {"amount": chance.randrange(1000), "outcome": chance.choice(["won", "lost", "open"])}
    return Planned("hot", topic, entity.encode(), json.dumps(event).encode(), "hot")


def _unusable(chance: random.Random, like: Planned, number: int) -> Planned:
    """Give an event that must be refused."""
    event = {"event_id": f"unusable-{number}", "occurred_at": _some_instant(chance), _OWN_ID[like.topic]: f"u{number}"}
    priced = {"amount": "10", "currency": "USD", "need": "n", "outcome": "won"}
    defects: list[tuple[Reason, bytes | None]] = [
        (Reason.NOT_JSON, b"\xff" + chance.randbytes(50)),
        (Reason.NOT_JSON, json.dumps(event).encode()[:-1]),
        (Reason.MISSING_FIELD, json.dumps(event | {"event_id": " "}).encode()),
        (Reason.INVALID_FIELD, json.dumps(event | priced | {"currency": "EUR", "revision": -1}).encode()),
        (Reason.TOO_LARGE, json.dumps(event | {"note": "n" * 66_000}).encode()),
        (Reason.NO_VALUE, None),
    ]
    if like.topic != "lead_created":
        defects.append((Reason.NO_RATE, json.dumps(event | priced).encode()))
    reason, value = chance.choice(defects)
    return Planned("unusable", like.topic, f"u{number}".encode(), value, "unusable", str(reason))


class Publisher:
    """Publishes, in bursts, over every restart of Kafka."""

    def __init__(self, site: Site, seed: int, rate: float) -> None:
        """Make one.

        Args:
            site: Whose topics it writes to.
            seed: Of the events.
            rate: Events a second, on average.

        """
        self._site = site
        self._events = events(seed)
        self._rate = rate
        self._chance = random.Random(f"bursts {seed}")
        self._stopping = False
        self._in_flight = 0
        self._producer: AIOKafkaProducer | None = None
        self.published: Counter[str] = Counter()
        """Events that Kafka has acknowledged, by what they are."""
        self.unknown = 0
        """Events of which it is not known whether Kafka has them."""
        self.ends: dict[str, int] = {}
        """After the last acknowledged event of each partition."""

    async def run(self) -> None:
        """Publish until told to stop; returns when nothing is under way any more."""
        async with self._producing():
            await self._publish()

    async def publish(self, number: int) -> None:
        """Publish so many at once; returns when Kafka has them."""
        async with self._producing():
            await self._send_some(number)

    def stop(self) -> None:
        """Publish no more."""
        self._stopping = True

    @asynccontextmanager
    async def _producing(self) -> AsyncIterator[None]:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._site.settings.kafka,
            acks="all",
            linger_ms=20,
            request_timeout_ms=_DELIVERY_MS,
            retry_backoff_ms=200,
            max_request_size=2 * 1024 * 1024,
        )
        await self._producer.start()
        try:
            yield
        finally:
            with contextlib.suppress(KafkaError):
                await self._producer.flush()
            await self._producer.stop()

    async def _send_some(self, number: int) -> None:
        for planned in islice(self._events, number):
            await self._send(planned)

    async def _publish(self) -> None:
        owed, factor, until = 0.0, 1.0, 0.0
        last = time.monotonic()
        while not self._stopping:
            now = time.monotonic()
            if now > until:  # the mean of the factors is 1
                factor = self._chance.choice([0.1, 0.6, 0.8, 0.8, 0.9, 2.8])
                until = now + self._chance.uniform(1, 8)
            owed += min(now - last, 2.0) * self._rate * factor
            last = now
            await self._send_some(int(owed))
            owed -= int(owed)
            await asyncio.sleep(_TICK)

    async def _send(self, planned: Planned) -> None:
        while self._in_flight > _IN_FLIGHT and not self._stopping:  # noqa: ASYNC110 - no event is worth it
            await asyncio.sleep(_TICK)
        try:
            delivery = await self._site.send(self._producer, planned.message)
        except KafkaError:
            self.unknown += 1
            return
        self._in_flight += 1
        delivery.add_done_callback(lambda done: self._delivered(planned, done))

    def _delivered(self, planned: Planned, done: asyncio.Future[Any]) -> None:
        self._in_flight -= 1
        if done.cancelled() or done.exception() is not None:
            self.unknown += 1
            return
        at = done.result()
        field = f"{planned.topic}:{at.partition}"
        self.ends[field] = max(self.ends.get(field, 0), at.offset + 1)
        self.published[planned.what] += 1
