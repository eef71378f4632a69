"""A real worker that a measurement waits for."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def running_worker(environ: Mapping[str, str]) -> Iterator[Callable[[], None]]:
    """Run `salesfx worker`, and give what ends the measurement where it has ended."""
    process = subprocess.Popen([sys.executable, "-m", "salesfx", "worker", "--log-level", "WARNING"], env=dict(environ))

    def check() -> None:
        if process.poll() is not None:
            raise SystemExit(f"the worker ended with status {process.returncode}")

    try:
        yield check
    finally:
        process.terminate()
        process.wait()
