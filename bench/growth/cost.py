"""What an event costs a worker, and how it starts, when so many are in the tables already."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rich.progress import Progress

from bench import load
from bench.load import Message
from bench.results import spread, table
from bench.surroundings import progress_bars, servers
from bench.throughput import timed
from bench.workers import Seen, Worker, wait_until, workers
from salesfx.local import LocalServers
from salesfx.settings import Settings

_MIB = 2**20
_ENDLESS = 1 << 62


def measure(sizes: Sequence[int], more: int, runs: int) -> dict[str, Any]:
    """Let one log and its tables grow from size to size, and time further events at each.

    Further events are published while no worker runs; a worker then starts, and is timed from its first commit to its
    last. So every size has the same mix of topics under its timing, which the end of a long log would not have: its
    quotes and deals are read before its leads, which are more.
    """
    with servers() as (local, settings, folder), progress_bars() as bars:
        growing = _Growing(local, settings, folder, load.in_order(_ENDLESS), bars)
        return {"more": more, "sizes": {str(size): growing.at(size, more, runs) for size in sizes}}


class _Growing:
    """One log, and the tables made of it."""

    def __init__(
        self, local: LocalServers, settings: Settings, folder: Path, events: Iterator[Message], bars: Progress
    ) -> None:
        self._local, self._settings, self._folder, self._bars = local, settings, folder, bars
        self._events = events
        self._seen = Seen(settings)
        self._size = 0
        self._seconds = 0.0

    def at(self, size: int, more: int, runs: int) -> dict[str, Any]:
        """Grow to a size, then time further events."""
        grown = self._taken(max(size - self._size, more), f"to {size:,}")
        whole = self._size / self._seconds
        timings = [self._taken(more, f"at {size:,}") for _ in range(runs)]
        self._bars.console.print(f"at {size:,}: {spread([t['rate'] for t in timings])['median']:,.0f} events/s")
        return {
            "whole": whole,
            "further": spread([timing["rate"] for timing in timings]),
            "start_seconds": spread([timing["start_seconds"] for timing in timings]),
            "resident": grown["resident"],
            "resident_peak": grown["resident_peak"],
            "redis": self._seen.memory()["used_memory"],
            "keys": self._seen.client.dbsize(),
        }

    def _taken(self, count: int, name: str) -> dict[str, float]:
        """Publish further events, then start a worker and let it take them."""
        load.publish(self._settings, islice(self._events, count), count, self._bars)
        before = self._size
        with workers(self._settings, self._folder) as (worker,):
            first = wait_until("a worker commits", lambda: self._seen.done() > before, worker.check)
            rate = timed(self._done_since(before, worker), count, name, self._bars)
            resident, peak = worker.memory()
        self._local.check()
        self._size += count
        self._seconds += count / rate
        return {
            "rate": rate,
            "start_seconds": first - worker.started,
            "resident": resident,
            "resident_peak": peak,
        }

    def _done_since(self, before: int, worker: Worker) -> Any:
        def done() -> int:
            worker.check()
            return self._seen.done() - before

        return done


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as a table."""
    sizes = figures["sizes"]
    first = next(iter(sizes.values()))["further"]["median"]
    return table(
        (
            "events in the tables",
            "events/s since the first",
            f"events/s of {figures['more']:,} further",
            "of that at the first size",
            "a worker's start, s",
            "the memory of the worker that took them, then / at most, MiB",
            "Redis's memory, MiB",
        ),
        [
            (
                f"{int(size):,}",
                f"{row['whole']:,.0f}",
                f"{row['further']['median']:,.0f} ({row['further']['least']:,.0f} to {row['further']['greatest']:,.0f})",
                f"{row['further']['median'] / first:.2f}",
                f"{row['start_seconds']['median']:.1f}",
                f"{row['resident'] / _MIB:,.0f} / {row['resident_peak'] / _MIB:,.0f}",
                f"{row['redis'] / _MIB:,.0f}",
            )
            for size, row in sizes.items()
        ],
    )
