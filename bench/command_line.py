"""One run of the command line, with its time and memory."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.workers import environ_of
from salesfx.settings import Settings

_PROGRAM = (
    "import atexit, resource, sys\n"
    "atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr))\n"
    "from salesfx.cli import main\nmain()\n"
)
"""The command line, in a process that tells its own peak of memory at its end."""


class Run(NamedTuple):
    """What a run took."""

    seconds: float
    peak_mib: float
    out: bytes
    error: bytes
    status: int


def run(settings: Settings, arguments: Sequence[str], changed: Mapping[str, str] | None = None) -> Run:
    """Run salesfx with arguments, where wanted with a changed environment, and wait for its end."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments],
        env={**environ_of(settings), **(changed or {})},
        capture_output=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    return Run(seconds, int(done.stderr.split()[-1]) / 1024, done.stdout, done.stderr, done.returncode)
