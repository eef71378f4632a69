"""Quix Streams, with its state in RocksDB and its changelogs in Kafka, as its documentation has them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contenders.contender import Place, Running
from bench.contenders.reporting import ReportingProcess
from salesfx.local.jars import cache_folder

_VERSION = "3.28.1"
_ROOT = Path(__file__).parents[2]
_PROCESS = Path(__file__).with_name("quix_streams_process.py")


class QuixStreams:
    """One process; events come to their lead, and what they change to its month, by topics with these keys."""

    name = "Quix Streams"
    version = _VERSION
    leaves_out = (
        "Accounts and categories from their history, planned sales, salespeople, days and hours, entities that move to "
        "another lead, dead letters; at least once, so that a crash may count events twice."
    )
    share = 0.2
    may_count_twice = True

    def prepare(self, progress: Callable[[str], None]) -> None:
        """Install it once, into an environment of its own: its dependencies are not to decide over ours."""
        if _python().exists() and _has_it():
            return
        progress(f"installing Quix Streams {_VERSION}")
        # With tzdata as salesfx has it, so that months do not depend on the system's.
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(_environment())],
            [str(_python()), "-m", "pip", "install", "--quiet", f"quixstreams=={_VERSION}", "tzdata"],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"Quix Streams could not be installed:\n{done.stderr.strip()}")

    @contextmanager
    def run(self, place: Place) -> Iterator[Running]:
        """Start it."""
        names = [place.topics[topic] for topic in ("lead_created", "quote_sent", "deal_closed")]
        arguments = [place.kafka, f"quix-{place.run}", str(place.partitions), str(place.events), *names]
        command = [str(_python()), str(_PROCESS), *arguments]
        with ReportingProcess(command, folder=place.folder, environ={"PYTHONPATH": str(_ROOT)}) as running:
            yield running


def _environment() -> Path:
    return cache_folder() / "bench" / f"quix-{_VERSION}"


def _python() -> Path:
    return _environment() / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _has_it() -> bool:
    """Tell whether it is whole: an installation may have been cut short."""
    asked = f"import quixstreams; assert quixstreams.__version__ == '{_VERSION}'"
    return subprocess.run([str(_python()), "-c", asked], capture_output=True, check=False).returncode == 0
