"""What a second worker adds on one machine, how often the two are in each other's way, and what an event takes of a processor."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
import psutil
from rich.progress import Progress

from bench import load, plots
from bench.results import keep, spread, table
from bench.surroundings import progress_bars, servers
from bench.workers import CONFLICT, READING, Seen, Worker, per_event, processor_seconds, wait_until, workers
from salesfx.local import LocalServers
from salesfx.settings import Settings

COUNTS = (1, 2)
_PATIENCE = 3600.0
_SETTLING_SECONDS = 2.0
"""After the last worker has got its partitions, until the backlog comes."""


@click.command(short_help="What a second worker adds, and the conflicts.")
@click.option("--events", default=400_000, show_default=True, help="Events of a run.")
@click.option("--runs", default=3, show_default=True, help="Runs of each.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Keep the figures here instead.")
def command(events: int, runs: int, file: Path | None) -> None:
    """Let one worker and two take the same backlog to new tables, by turns.

    They have shared the partitions when the backlog comes to be readable, all at once, and are timed from then on to the
    last commit. Conflicts are the lines that the workers log of them;
    beside them stands how often Redis was asked for a commit, which every conflict makes once more.
    """
    with servers() as (local, settings, folder), progress_bars() as bars:
        site = _Site(local, settings, folder, events)
        rows: dict[int, list[dict[str, float]]] = {count: [] for count in COUNTS}
        for number in range(runs):
            for count in COUNTS if number % 2 == 0 else reversed(COUNTS):
                rows[count].append(site.run(count, f"r{number}-{count}", bars))
                bars.console.print(f"run {number + 1}, workers: {count}, {rows[count][-1]['rate']:,.0f} events/s")
    names = list(rows[COUNTS[0]][0])
    kept = {str(count): {name: spread([run[name] for run in rows[count]]) for name in names} for count in COUNTS}
    figures = {"events": events, "workers": kept}
    click.echo(f"kept in {keep('two_workers', figures, file)}\n")
    click.echo(shown(figures))


class _Site:
    """A backlog, and tables made anew of it."""

    def __init__(self, local: LocalServers, settings: Settings, folder: Path, events: int) -> None:
        self._local, self._settings, self._folder, self._events = local, settings, folder, events
        self._kafka = psutil.Process(local.kafka_process.pid)

    def run(self, count: int, name: str, bars: Progress) -> dict[str, float]:
        """Let so many workers make the tables, in a Redis that holds nothing else."""
        settings = msgspec.structs.replace(self._settings, namespace=name, group=name, topic_prefix=f"{name}.")
        seen = Seen(settings)
        seen.client.flushall()
        with (
            load.Held(settings, load.in_order(self._events), self._events, bars) as held,
            workers(settings, self._folder, count, level="DEBUG") as running,
        ):

            def check() -> None:
                self._local.check()
                for worker in running:
                    worker.check()

            wait_until("all have partitions", lambda: all(worker.says(READING) for worker in running), check)
            time.sleep(_SETTLING_SECONDS)
            seen.client.config_resetstat()
            before, began = self._used(seen, running), time.monotonic()
            batches = seen.counted("batches")
            held.release()
            took = self._done(seen, check, f"workers: {count}", bars) - began
            after, batches, attempts = self._used(seen, running), seen.counted("batches") - batches, seen.attempts()
            conflicts = sum(worker.says(CONFLICT) for worker in running)
        return {
            "rate": self._events / took,
            "conflicts_per_thousand_batches": 1000 * conflicts / batches,
            "conflicts": conflicts,
            "attempts_beyond_batches": attempts - batches,
            "events_a_batch": self._events / batches,
            **{f"{thing}_us": used for thing, used in per_event(before, after, self._events).items()},
        }

    def _done(self, seen: Seen, check: Callable[[], None], name: str, bars: Progress) -> float:
        """Wait until every event is in the tables; give the moment."""
        task = bars.add_task(name, total=self._events)

        def all_done() -> bool:
            done = seen.counted("processed") + seen.counted("rejected")
            bars.update(task, completed=done)
            return done >= self._events

        moment = wait_until("all is in", all_done, check, _PATIENCE)
        bars.remove_task(task)
        return moment

    def _used(self, seen: Seen, running: list[Worker]) -> dict[str, float]:
        """Tell the processor's seconds of everybody so far."""
        return {
            "workers": sum(worker.processor_seconds() for worker in running),
            "redis": seen.processor_seconds(),
            "kafka": processor_seconds(self._kafka),
        }


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as a table."""
    one = figures["workers"]["1"]["rate"]["median"]
    columns = ("conflicts_per_thousand_batches", "events_a_batch", "workers_us", "redis_us", "kafka_us")
    return table(
        (
            "workers",
            "events/s (median)",
            "least to greatest",
            "of one worker's",
            "conflicts per thousand batches",
            "events a batch",
            "workers: processor, µs an event",
            "Redis: µs",
            "Kafka: µs",
        ),
        [
            (
                count,
                f"{row['rate']['median']:,.0f}",
                f"{row['rate']['least']:,.0f} to {row['rate']['greatest']:,.0f}",
                f"{row['rate']['median'] / one:.2f}",
                *(f"{row[column]['median']:,.1f}" for column in columns),
            )
            for count, row in figures["workers"].items()
        ],
    )


def draw(figures: Mapping[str, Any], file: Path) -> None:
    """Draw the rates as bars."""
    rows = {f"workers: {count}": row["rate"] for count, row in figures["workers"].items()}
    plots.bars(rows, "events per second", file)
