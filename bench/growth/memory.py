"""What a lead takes in Redis, through the real worker, and how long the tables of many take to be read."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.progress import Progress

from bench import load
from bench.growth import reading
from bench.results import table
from bench.surroundings import progress_bars, servers
from bench.workers import Seen, wait_until, workers
from salesfx.local import LocalServers
from salesfx.settings import Settings

DEBIANS = Path("/usr/bin/redis-server")
_PATIENCE = 3600.0


def measure(leads: int) -> dict[str, Any]:
    """Make the tables of the same leads in the Valkey that ships and in Debian's Redis; read those in the first."""
    today = datetime.now(UTC).date()
    with servers() as (local, settings, folder), progress_bars() as bars:
        messages = leads + leads * (load.QUOTED + load.WON) // 100
        load.publish(settings, load.mixed(leads, today), messages, bars)
        shipped = _Tables(settings, folder, messages, local)
        figures: dict[str, Any] = {"leads": leads, "servers": {"Valkey": shipped.filled(leads, bars)}}
        figures["reading"] = reading.measure(settings, today)
        if DEBIANS.exists():
            with _debians_redis(settings) as (other, other_settings):
                figures["servers"]["Redis"] = _Tables(other_settings, folder, messages, other).filled(leads, bars)
        else:
            figures["servers"]["Redis"] = {"skipped": f"there is no {DEBIANS} (on Debian: apt install redis-server)"}
    return figures


@contextmanager
def _debians_redis(settings: Settings) -> Iterator[tuple[LocalServers, Settings]]:
    """Run Debian's Redis beside the Kafka that there is."""
    with (
        tempfile.TemporaryDirectory(prefix="salesfx-bench-") as folder,
        LocalServers(Path(folder) / "servers", kafka=False, redis_server=DEBIANS) as local,
    ):
        yield local, msgspec.structs.replace(settings, redis=local.redis, group="debians")


class _Tables:
    """Tables that a worker makes in one Redis."""

    def __init__(self, settings: Settings, folder: Path, messages: int, local: LocalServers) -> None:
        self._settings, self._folder, self._messages, self._local = settings, folder, messages, local
        self._seen = Seen(settings)

    def filled(self, leads: int, bars: Progress) -> dict[str, Any]:
        """Let a worker make them; give what they take, the worker and its connections being gone."""
        before = self._seen.memory()
        task = bars.add_task("making the tables", total=self._messages)
        with workers(self._settings, self._folder) as (worker,):

            def all_done() -> bool:
                self._local.check()
                done = self._seen.done()
                bars.update(task, completed=done)
                return done >= self._messages

            wait_until("all is in the tables", all_done, worker.check, _PATIENCE)
        info = self._seen.client.info()
        wait_until(
            "the append-only file is rewritten",
            lambda: not self._seen.client.info("persistence")["aof_rewrite_in_progress"],
            self._local.check,
        )
        after = self._seen.memory()
        bars.remove_task(task)
        return {
            "version": info.get("valkey_version") or info["redis_version"],
            "keys": self._seen.client.dbsize(),
            **{f"{name}_a_lead": (after[name] - before[name]) / leads for name in after},
        }


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as tables."""
    rows = [
        (f"{name} {row['version']}", f"{row['used_memory_dataset_a_lead']:,.0f}", f"{row['used_memory_a_lead']:,.0f}")
        if "version" in row
        else (name, f"left out: {row['skipped']}", "")
        for name, row in figures["servers"].items()
    ]
    head = (f"{figures['leads']:,} leads", "bytes a lead, data alone", "bytes a lead, all memory in use")
    return table(head, rows) + "\n\n" + reading.shown(figures["reading"])
