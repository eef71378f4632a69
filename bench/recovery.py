"""How long it takes until two workers have caught up, after one of them was killed."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import click
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner
from rich.progress import Progress

from bench import load
from bench.latency.notes import Due
from bench.latency.stage import publishing
from bench.results import keep, spread, table
from bench.surroundings import progress_bars, servers
from bench.throughput import timed
from bench.workers import READING, Seen, Worker, wait_until, workers
from salesfx.events import TOPICS
from salesfx.kafka_log import KafkaLog
from salesfx.settings import Settings
from salesfx.tables.layout import partition_field

_MEASURED_WITH = 100_000
"""Events by which the rate that can be sustained is found, where none is given."""
_STEADY_SECONDS = 3.0
"""How long both workers keep up before one is killed."""
_LOOK_SECONDS = 0.05
_SECOND = 1.0
"""A partition has caught up when it lags behind its log by less than this long a time's events."""
_PATIENCE = 300.0


class Look(NamedTuple):
    """Where everything stood at one moment."""

    at: float
    ends: Mapping[str, int]
    """Of the log, by partition."""
    stored: Mapping[str, int]
    """Offsets in Redis, by partition."""

    def lag(self, partition: str) -> int:
        """Tell how many events are not in the tables yet."""
        return self.ends[partition] - self.stored.get(partition, 0)


@click.command(short_help="Time until caught up, after a worker was killed.")
@click.option("--rate", type=int, help="Events a second. [default: half of what two workers make of a backlog]")
@click.option("--kills", default=5, show_default=True, help="How often a worker is killed.")
@click.option("--seconds", default=40.0, show_default=True, help="How long events come, for each kill.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Keep the figures here instead.")
def command(rate: int | None, kills: int, seconds: float, file: Path | None) -> None:
    """Kill one of two workers (kill -9) under load, and see how long the partitions lag behind."""
    with servers() as (local, settings, folder), progress_bars() as bars:
        KafkaLog(settings).ensure_topics()
        backlog = load.in_order(1 << 62)
        sustained = None if rate else _sustained(settings, folder, backlog, bars)
        offered = rate or round((sustained or 0) / 2)
        bars.console.print(f"{offered:,} events/s come")
        site, rows = _Site(settings, folder, offered, seconds, bars), []
        for number in range(kills):
            rows.append(site.kill(_placed(islice(backlog, round(offered * seconds)), settings), number))
            bars.console.print(f"kill {number + 1}: caught up after {rows[-1]['caught_up']:.1f} s")
            local.check()
    figures = {
        "rate": offered,
        "sustained": sustained,
        **{name: spread([row[name] for row in rows]) for name in ("taken_over", "caught_up", "greatest_lag")},
    }
    click.echo(f"kept in {keep('recovery', figures, file)}\n")
    click.echo(shown(figures))


def _sustained(settings: Settings, folder: Path, events: Iterator[load.Message], bars: Progress) -> float:
    """Find what two workers make of a backlog, in events a second."""
    with (
        load.Held(settings, islice(events, _MEASURED_WITH), _MEASURED_WITH, bars) as held,
        workers(settings, folder, 2) as pair,
    ):
        wait_until("both read", lambda: all(worker.says(READING) for worker in pair), _check_of(pair))
        held.release()
        return timed(Seen(settings).done, _MEASURED_WITH, "two workers", bars)


def _placed(events: Iterator[load.Message], settings: Settings) -> list[Due]:
    partition_of, partitions = DefaultPartitioner(), list(range(settings.partitions))
    return [(topic, partition_of(key, partitions, partitions), key, value) for topic, key, value in events]


class _Site:
    """Two workers under load, one after the other killed."""

    def __init__(self, settings: Settings, folder: Path, rate: int, seconds: float, bars: Progress) -> None:
        self._settings, self._folder, self._bars = settings, folder, bars
        self._rate, self._seconds = rate, seconds
        self._seen = Seen(settings)

    def kill(self, events: list[Due], number: int) -> dict[str, float]:
        """Let two workers keep up with events that come steadily, kill one, and look until the events end."""
        folder = self._folder / f"kill-{number}"
        folder.mkdir()
        with workers(self._settings, folder, 2) as pair:
            check = _check_of(pair)
            wait_until("both read", lambda: all(worker.says(READING) for worker in pair), check)
            with publishing(self._settings, folder, self._rate, events, check) as source:
                source.ready()
                source.begin()
                task = self._bars.add_task(f"kill {number + 1}", total=self._seconds)
                victim = pair[number % 2]
                looks, killed = asyncio.run(self._watched(pair, victim, lambda s: self._bars.update(task, completed=s)))
                self._bars.remove_task(task)
                sent = source.sent()
        found = recovery(looks, killed, self._rate)
        if killed + found["caught_up"] > sent.due(len(events)):
            self._bars.console.print("the events had ended before it had caught up: take more --seconds")
        return found

    async def _watched(self, pair: list[Worker], victim: Worker, progress: Any) -> tuple[list[Look], float]:
        """Look again and again, and kill the victim on the way; until the events have ended and all are in."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self._settings.kafka)
        await consumer.start()
        looks: list[Look] = []
        began, killed = time.monotonic(), 0.0
        try:
            while time.monotonic() - began < self._seconds or any(map(looks[-1].lag, looks[-1].ends)):
                looks.append(await self._look(consumer))
                progress(time.monotonic() - began)
                if not killed and _steady(looks, self._rate):
                    killed = time.monotonic()
                    await asyncio.to_thread(victim.kill)
                    pair.remove(victim)
                if looks[-1].at - began > self._seconds + _PATIENCE:
                    raise SystemExit("the workers do not catch up at this rate")
                _check_of(pair)()
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            await consumer.stop()
        if not killed:
            raise SystemExit("the two workers did not keep up with this rate: nobody was killed")
        return looks, killed

    async def _look(self, consumer: Any) -> Look:
        """Ask for the ends first: what is stored is then never far beyond them."""
        partitions = {
            TopicPartition(self._settings.kafka_topic(topic), number): partition_field(topic, number)
            for topic in TOPICS
            for number in range(self._settings.partitions)
        }
        ends = await consumer.end_offsets(list(partitions))
        stored = await asyncio.to_thread(self._seen.offsets)
        return Look(time.monotonic(), {partitions[partition]: end for partition, end in ends.items()}, stored)


def _check_of(pair: Sequence[Worker]) -> Any:
    def check() -> None:
        for worker in pair:
            worker.check()

    return check


def _steady(looks: Sequence[Look], rate: float) -> bool:
    """Tell whether events have come for some seconds, and all together lag by less than a second of them."""
    recent = [look for look in looks if looks[-1].at - look.at < _STEADY_SECONDS]
    coming = sum(recent[-1].ends.values()) > sum(recent[0].ends.values())
    return (
        looks[-1].at - looks[0].at > 2 * _STEADY_SECONDS
        and coming
        and all(sum(map(look.lag, look.ends)) < rate * _SECOND for look in recent)
    )


def recovery(looks: Sequence[Look], killed: float, rate: float) -> dict[str, float]:
    """Tell what followed a kill.

    A partition is behind while it lags by more than it did at most before, and by more than one second's worth of its
    events. `caught_up` is from the kill to the first look after the last at which any was behind; `taken_over` to the
    commit after which every partition had moved on; `greatest_lag` is of all together, in seconds' worth.
    """
    before = [look for look in looks if killed - _STEADY_SECONDS < look.at <= killed]
    after = [look for look in looks if look.at > killed]
    coming = {p: looks[-1].ends[p] - looks[0].ends[p] for p in looks[0].ends}
    one_second = {p: rate * _SECOND * coming[p] / max(sum(coming.values()), 1) for p in coming}
    bound = {p: max(one_second[p], *(look.lag(p) for look in before), 1) for p in coming}
    behind = [place for place, look in enumerate(after) if any(look.lag(p) > bound[p] for p in bound)]
    caught_up = after[min(behind[-1] + 1, len(after) - 1)].at if behind else killed
    return {
        "taken_over": max(_moved_on(after, p) for p in coming if coming[p]) - killed,
        "caught_up": caught_up - killed,
        "greatest_lag": max(sum(map(look.lag, look.ends)) for look in after) / rate,
    }


def _moved_on(after: Sequence[Look], partition: str) -> float:
    """Tell when a partition was first committed to again; the first look shows where the killed one had left it."""
    stood = after[0].stored.get(partition, 0)
    return next((look.at for look in after if look.stored.get(partition, 0) > stood), after[-1].at)


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as a table."""
    rows = {
        "until every partition is committed to again, s": figures["taken_over"],
        "until caught up, s": figures["caught_up"],
        "lag at most, in seconds' worth of events": figures["greatest_lag"],
    }
    head = (f"{figures['rate']:,} events/s, {len(figures['caught_up']['runs'])} kills", "median", "least to greatest")
    return table(
        head,
        [
            (name, f"{row['median']:,.1f}", f"{row['least']:,.1f} to {row['greatest']:,.1f}")
            for name, row in rows.items()
        ],
    )
