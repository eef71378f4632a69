"""An account with very many deals, a lead with very many quotes: what they cost to build, and then one event more."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from kafka import KafkaProducer

from bench.load import DEAL, LEAD, QUOTE, Message
from bench.results import spread, table
from bench.surroundings import progress_bars, servers
from bench.workers import Seen, Worker, wait_until, workers
from salesfx.kafka_log import KafkaLog
from salesfx.settings import Settings

_TIMES = 30
_LOOK_SECONDS = 0.001
_AT = "2026-03-10T09:00:00+00:00"
_MONEY = {"amount": "1150.00", "currency": "EUR", "salesperson": "Ana Kolev"}


def measure(deals: int, quotes: int) -> dict[str, Any]:
    """Build each through the worker, and correct one of its entities a few times, one event at a time."""
    cases = {
        "a lead with one quote": (1, _quote),
        f"a lead with {quotes:,} quotes": (quotes, _quote),
        "an account with one deal": (1, _deal),
        f"an account with {deals:,} deals": (deals, _deal),
    }
    with servers() as (local, settings, folder), progress_bars() as bars:
        KafkaLog(settings).ensure_topics()
        site = _Site(settings, folder)
        rows = {}
        for number, (name, (count, entity)) in enumerate(cases.items()):
            rows[name] = {"entities": count, **site.built(number, count, entity)}
            bars.console.print(f"{name}: {rows[name]['commit_ms']['median']:.1f} ms for one event more")
            local.check()
    return {"cases": rows}


_Entity = Callable[[int, int, int], Message]
"""Makes an event of: the number of the giant, of the entity, of its version."""


class _Site:
    """One log and its tables, which have each of them in turn."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._seen = Seen(settings)
        self._producer = KafkaProducer(bootstrap_servers=settings.kafka, acks="all", linger_ms=0)
        self._published = 0

    def built(self, giant: int, count: int, entity: _Entity) -> dict[str, Any]:
        """Build one from a log that holds it whole, then let one event after the other come to it."""
        self._publish([_lead(giant), *(entity(giant, number, 0) for number in range(count))])
        before = self._worked()
        with workers(self._settings, self._folder) as (worker,):
            self._wait(worker)
            building = self._worked() - before
            more = [self._one_more(worker, entity(giant, 0, version)) for version in range(1, _TIMES + 1)]
        return {
            "building_seconds": building,
            "record_bytes": self._largest_record(giant),
            "commit_ms": spread([commit for commit, _ in more]),
            "visible_ms": spread([visible for _, visible in more]),
        }

    def _one_more(self, worker: Worker, event: Message) -> tuple[float, float]:
        """Give the worker's own time from taking an event to its commit, and the time from publishing to Redis."""
        before, began = self._worked(), time.monotonic()
        self._publish([event])
        seen = self._wait(worker)
        return (self._worked() - before) * 1000, (seen - began) * 1000

    def _publish(self, events: list[Message]) -> None:
        for topic, key, value in events:
            self._producer.send(self._settings.kafka_topic(topic), value, key=key)
        self._producer.flush()
        self._published += len(events)

    def _wait(self, worker: Worker) -> float:
        """Wait until all is in the tables; give the moment."""
        moment = wait_until("all is in", lambda: self._seen.done() >= self._published, worker.check, look=_LOOK_SECONDS)
        if self._seen.counted("rejected"):
            raise SystemExit("events were rejected")
        return moment

    def _worked(self) -> float:
        """Give the worker's own seconds from taking batches to their commits, so far."""
        return self._seen.counted("batch_microseconds") / 1e6

    def _largest_record(self, giant: int) -> int:
        layout = self._seen.layout
        refs = (f"lead:L-{giant}", f"account:A-{giant}")
        return max(int(self._seen.client.strlen(layout.record(ref))) for ref in refs)


def _lead(giant: int) -> Message:
    return LEAD, f"L-{giant}".encode(), _written(f"L-{giant}", 0, lead_id=f"L-{giant}", source="website")


def _quote(giant: int, number: int, version: int) -> Message:
    key = f"Q-{giant}-{number:06d}"
    fields = {"quote_id": key, "lead_id": f"L-{giant}", "need": "fleet tracking", **_MONEY}
    return QUOTE, key.encode(), _written(key, version, **fields)


def _deal(giant: int, number: int, version: int) -> Message:
    """Make a won deal of an account, of no lead of ours: each has a stand-in of its own."""
    key = f"D-{giant}-{number:06d}"
    fields = {"deal_id": key, "account_id": f"A-{giant}", "outcome": "won", **_MONEY}
    return DEAL, key.encode(), _written(key, version, **fields)


def _written(key: str, version: int, **fields: str) -> bytes:
    event: dict[str, Any] = {"event_id": f"{key}-{version}", "occurred_at": _AT, "revision": version, **fields}
    if "amount" in fields:
        event["amount"] = f"{1150 + version}.00"
    return msgspec.json.encode(event)


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as a table."""
    return table(
        ("", "building it, s", "its record, KiB", "one event more: ms to its commit", "ms until it is seen in Redis"),
        [
            (
                name,
                f"{row['building_seconds']:,.2f}",
                f"{row['record_bytes'] / 1024:,.1f}",
                _middle(row["commit_ms"]),
                _middle(row["visible_ms"]),
            )
            for name, row in figures["cases"].items()
        ],
    )


def _middle(values: Mapping[str, float]) -> str:
    return f"{values['median']:,.1f} ({values['least']:,.1f} to {values['greatest']:,.1f})"
