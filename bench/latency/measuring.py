"""The command: phases at one load after the other, until the worker cannot keep up."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click
import msgspec
from aiokafka.partitioner import DefaultPartitioner
from rich.progress import Progress

from bench import load, plots
from bench.latency.notes import NOTIFICATIONS, Due, achieved, latencies, summary
from bench.latency.stage import BARE, Phase, Stage
from bench.results import keep, spread, table
from bench.surroundings import PARTITIONS, progress_bars, servers
from bench.workers import Seen, Worker, serving, wait_until, workers
from salesfx.events import TOPICS
from salesfx.kafka_log import KafkaLog
from salesfx.settings import Settings

RATIO_AT = 1000
"""Events a second at which the worker's latency is put beside the bare round trip."""
_LOADS = "100,1000,2500,5000,10000,15000,20000,30000"
_KEPT_UP = 0.95
"""The share of the load that has to be achieved."""
_TOO_LATE_MS = 1000.0
"""A median beyond which a load is more than can be kept up with."""
_PUBLISHER_LATE_MS = 10.0
"""Milliseconds that the publisher's own median lateness may have at most, for the load to be what it is called."""


@click.command(short_help="Time until an event is seen, against the load.")
@click.option("--loads", default=_LOADS, show_default=True, help="Events a second, ascending.")
@click.option("--seconds", default=20.0, show_default=True, help="Of each phase, after the warm-up.")
@click.option("--warm-up", default=3.0, show_default=True, help="Seconds of each phase that are not counted.")
@click.option("--rounds", default=5, show_default=True, help=f"Rounds at {RATIO_AT} events/s, where the ratio is told.")
@click.option("--pause-ms", default=50.0, show_default=True, help="From an answer of /metrics to the next question.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Keep the figures here instead.")
def command(loads: str, seconds: float, warm_up: float, rounds: int, pause_ms: float, file: Path | None) -> None:
    """Publish on a fixed schedule, and count from when each event was due, whenever it was sent.

    The phases of a round follow each other on the same servers: events to a plain consumer, the same ones to the worker,
    further ones to the worker while `/metrics` is asked. The worker and the HTTP server run all the time.
    """
    offered = [int(each) for each in loads.split(",")]
    needed = sum((rounds if rate == RATIO_AT else 1) * 2 * _count(rate, warm_up + seconds) for rate in offered)
    events = _events(needed)
    figures: dict[str, Any] = {"seconds": seconds, "warm_up": warm_up, "pause_ms": pause_ms, "loads": {}}
    with servers() as (local, settings, folder), progress_bars() as bars, _running(settings, folder) as worker:

        def check() -> None:
            local.check()
            worker.check()

        with serving(settings) as url:
            stage = Stage(settings, folder, check, pause_ms / 1000)
            for rate in offered:
                at_load = _Load(stage, rate, warm_up, seconds, url)
                for number in range(rounds if rate == RATIO_AT else 1):
                    at_load.round(events, bars, f"{rate:,} events/s, round {number + 1}")
                figures["loads"][str(rate)] = at_load.figures()
                if not (figures["loads"][str(rate)]["kept_up"] and figures["loads"][str(rate)]["publisher_kept_up"]):
                    break
    click.echo(f"kept in {keep('latency', figures, file)}\n")
    click.echo(shown(figures))


@contextmanager
def _running(settings: Settings, folder: Path) -> Iterator[Worker]:
    """Run a worker, with topics for the bare round trip beside its own, and a Redis that tells of commits."""
    KafkaLog(settings).ensure_topics()
    KafkaLog(msgspec.structs.replace(settings, topic_prefix=BARE)).ensure_topics()
    seen, partitions = Seen(settings), len(TOPICS) * settings.partitions
    seen.client.config_set("notify-keyspace-events", NOTIFICATIONS)
    with workers(settings, folder) as (worker,):
        wait_until("the worker reads", lambda: len(seen.offsets()) == partitions, worker.check)
        yield worker


def _count(rate: int, seconds: float) -> int:
    return round(rate * seconds)


def _events(count: int) -> Iterator[Due]:
    """Give events of the last months, each with the partition that Kafka's clients choose for its key."""
    partition_of, partitions = DefaultPartitioner(), list(range(PARTITIONS))
    for topic, key, value in load.recent(count, datetime.now(UTC).date()):
        yield topic, partition_of(key, partitions, partitions), key, value


class _Load:
    """The phases at one load."""

    def __init__(self, stage: Stage, rate: int, warm_up: float, seconds: float, url: str) -> None:
        self._stage = stage
        self._rate = rate
        self._skip = _count(rate, warm_up)
        self._events = _count(rate, warm_up + seconds)
        self._url = url
        self._phases: dict[str, list[Phase]] = {"bare": [], "redis": [], "scrape": []}

    def round(self, events: Iterator[Due], bars: Progress, name: str) -> None:
        """Go through the phases once; the plain consumer gets the events that the worker gets after it."""
        task = bars.add_task(name, total=len(self._phases))
        first, second = list(islice(events, self._events)), list(islice(events, self._events))
        self._phases["bare"].append(self._stage.bare(self._rate, first))
        bars.advance(task)
        self._phases["redis"].append(self._stage.redis(self._rate, first))
        bars.advance(task)
        self._phases["scrape"].append(self._stage.scrape(self._rate, second, self._url))
        bars.remove_task(task)
        bars.console.print(f"{name}: p99 to Redis {self._ratios()[-1]:.2f} times the bare round trip's")

    def figures(self) -> dict[str, Any]:
        """Put all rounds together."""
        bare, redis, scrape = self._phases.values()
        rows: dict[str, Any] = {
            "acknowledged": self._summary(_acknowledged(phase, self._skip) for phase in bare),
            "bare": self._summary(latencies(phase.sent, phase.sightings, self._skip) for phase in bare),
            "redis": self._summary(latencies(phase.sent, phase.sightings, self._skip) for phase in redis),
            "scrape": self._summary(latencies(phase.sent, phase.scraped, self._skip) for phase in scrape),
            "one_scrape": self._summary(_scrape_seconds(phase) for phase in scrape),
            "publisher_late": self._summary(_handed_late(phase, self._skip) for phase in redis),
        }
        rate = min(achieved(phase.sent, phase.sightings) for phase in redis)
        kept_up = rate >= _KEPT_UP * self._rate and rows["redis"]["p50"] <= _TOO_LATE_MS
        publisher = rows["publisher_late"]["p50"] <= _PUBLISHER_LATE_MS
        ratio = spread(self._ratios())
        return rows | {"achieved": rate, "kept_up": kept_up, "publisher_kept_up": publisher, "p99_of_bare": ratio}

    def _ratios(self) -> list[float]:
        """Give each round's p99 to Redis, as a multiple of the bare round trip's."""
        return [
            summary(latencies(to_redis.sent, to_redis.sightings, self._skip))["p99"]
            / summary(latencies(bare.sent, bare.sightings, self._skip))["p99"]
            for bare, to_redis in zip(self._phases["bare"], self._phases["redis"], strict=True)
        ]

    @staticmethod
    def _summary(rounds: Iterator[Sequence[float]]) -> Mapping[str, float]:
        return summary(sorted(each for values in rounds for each in values))


def _acknowledged(phase: Phase, skip: int) -> list[float]:
    sent = phase.sent
    return [sent.acknowledged[number] - sent.due(number) for number in range(skip, len(sent.places))]


def _handed_late(phase: Phase, skip: int) -> list[float]:
    sent = phase.sent
    return [sent.handed[number] - sent.due(number) for number in range(skip, len(sent.places))]


def _scrape_seconds(phase: Phase) -> list[float]:
    return [scrape.answered - scrape.asked for scrape in phase.scrapes]


_CURVES = {
    "bare": "Kafka alone",
    "redis": "to Redis",
    "scrape": "to /metrics",
}


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as a table, and the ratio as a sentence."""
    head = (
        "events/s",
        *(f"{name}: p50 / p99 / p99.9, ms" for name in _CURVES.values()),
        "p99 to Redis / alone",
        "kept up",
    )
    rows = [
        (
            f"{int(load):,}",
            *(" / ".join(f"{row[name][place]:,.1f}" for place in ("p50", "p99", "p99.9")) for name in _CURVES),
            f"{row['p99_of_bare']['median']:.2f}",
            _verdict(row),
        )
        for load, row in figures["loads"].items()
    ]
    ratio = figures["loads"].get(str(RATIO_AT), {}).get("p99_of_bare")
    sentence = (
        f"\n\nAt {RATIO_AT:,} events/s the p99 to Redis is {ratio['median']:.2f} times that of the bare round trip (median "
        f"of {len(ratio['runs'])} rounds, {ratio['least']:.2f} to {ratio['greatest']:.2f})."
        if ratio
        else ""
    )
    return table(head, rows) + sentence


def _verdict(row: Mapping[str, Any]) -> str:
    if not row["publisher_kept_up"]:
        return "the publisher did not"
    return "yes" if row["kept_up"] else f"no: {row['achieved']:,.0f} events/s"


def draw(figures: Mapping[str, Any], file: Path) -> None:
    """Draw p50 and p99 over the load."""
    points = {
        f"{text}, {place}": [(float(load), row[name][place]) for load, row in figures["loads"].items()]
        for name, text in _CURVES.items()
        for place in ("p50", "p99")
    }
    plots.curves(points, ("events per second", "milliseconds since it was due"), "time until an event is seen", file)
