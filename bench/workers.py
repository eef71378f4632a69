"""`salesfx worker` and `salesfx serve` as processes of their own, and what is seen of their work from outside."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import redis

from salesfx.settings import Settings
from salesfx.tables.layout import FIRST_GENERATION, Layout

_TOLD = ("kafka", "redis", "namespace", "group", "topic_prefix", "partitions")
"""The settings in which one benchmark's processes differ from another's."""
NO_HEARTBEATS = {"SALESFX_HEARTBEAT_SECONDS": "0"}
"""The offsets tell how many events are done, so nothing but events may lie in the log."""
_LOOK_SECONDS = 0.02
_PATIENCE_SECONDS = 120.0
_STOP_SECONDS = 15.0
_SHOWN = 2000
"""Characters of a process's last words."""
READING = ": reading "
"""What a worker logs when it has got partitions, and knows where to read them from."""
CONFLICT = "records were changed meanwhile"
"""What it logs, where it is told to log everything, when another has changed records that it read."""


def environ_of(settings: Settings) -> dict[str, str]:
    """Write settings down as the environment of a process."""
    told = {f"SALESFX_{name.upper()}": str(getattr(settings, name)) for name in _TOLD}
    return {**os.environ, **told, **NO_HEARTBEATS}


class Worker:
    """One `salesfx worker`."""

    def __init__(self, settings: Settings, log: Path, level: str = "INFO") -> None:
        """Start it.

        Args:
            settings: Where its servers are, and its names in them.
            log: Where what it says goes.
            level: How much that is.

        """
        self._log = log
        self.started = time.monotonic()
        with log.open("ab") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "salesfx", "worker", "--log-level", level],
                env=environ_of(settings),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        self._looked_at = psutil.Process(self._process.pid)

    def says(self, words: str) -> int:
        """Count the lines with these words that it has logged."""
        return sum(words in line for line in self._said().splitlines())

    def check(self) -> None:
        """End the measurement where it has ended."""
        if self._process.poll() is not None:
            raise SystemExit(f"the worker ended with status {self._process.returncode}:\n{self._said()[-_SHOWN:]}")

    def processor_seconds(self) -> float:
        """Tell how long it has kept a processor busy."""
        return processor_seconds(self._looked_at)

    def memory(self) -> tuple[int, int]:
        """Tell its resident memory in bytes: now, and at most so far where the system keeps that."""
        now: int = self._looked_at.memory_info().rss
        status = Path(f"/proc/{self._process.pid}/status")
        lines = status.read_text(encoding="ascii", errors="replace").splitlines() if status.exists() else []
        peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
        return now, max([now, *peaks])

    def stop(self) -> None:
        """End it as a supervisor does, and wait for its end."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it as a power cut does."""
        self._process.kill()
        self._process.wait()

    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def workers(settings: Settings, folder: Path, count: int = 1, level: str = "INFO") -> Iterator[list[Worker]]:
    """Run workers that share the partitions; those that are put into the list meanwhile are stopped with them."""
    running: list[Worker] = []
    try:
        running.extend(Worker(settings, folder / f"{settings.namespace}-{each}.log", level) for each in range(count))
        yield running
    finally:
        with ExitStack() as stack:
            for worker in running:
                stack.callback(worker.stop)


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Run `salesfx serve` on a free port; give its URL."""
    with subprocess.Popen(
        [sys.executable, "-m", "salesfx", "serve", "--port", "0"],
        env=environ_of(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            word, _, url = process.stdout.readline().partition(" ")
            if word != "ready":
                raise SystemExit("salesfx serve did not start")
            yield url.strip()
        finally:
            process.terminate()


class Seen:
    """What Redis shows of the tables of one namespace, and of itself."""

    def __init__(self, settings: Settings) -> None:
        self.client: Any = redis.Redis.from_url(settings.redis)
        self.layout = Layout(settings.namespace, FIRST_GENERATION)

    def offsets(self) -> dict[str, int]:
        """Read the stored offsets, by `topic:partition`."""
        return {field.decode(): int(offset) for field, offset in self.client.hgetall(self.layout.offsets).items()}

    def done(self) -> int:
        """Add them up: how many events are in the tables, where the log has no holes."""
        return sum(self.offsets().values())

    def counted(self, kind: str) -> int:
        """Add up the counters of one kind over all topics, like `batches`."""
        counters = self.client.hgetall(self.layout.counters).items()
        return sum(int(number) for field, number in counters if field.decode().startswith(kind + "|"))

    def processor_seconds(self) -> float:
        """Tell how long Redis has kept a processor busy."""
        info = self.client.info("cpu")
        return float(info["used_cpu_user"] + info["used_cpu_sys"])

    def attempts(self) -> int:
        """Tell how often a commit was tried since the statistics were reset; scripts that Redis did not know were none."""
        told = self.client.info("commandstats").get("cmdstat_evalsha", {})
        return int(told.get("calls", 0)) - int(told.get("failed_calls", 0))

    def memory(self) -> dict[str, int]:
        """Tell the bytes of the data alone, and of all that Redis has in use."""
        info = self.client.info("memory")
        return {name: int(info[name]) for name in ("used_memory_dataset", "used_memory")}


def processor_seconds(process: psutil.Process) -> float:
    """Tell how long a process has kept a processor busy."""
    times = process.cpu_times()
    return float(times.user + times.system)


def wait_until(
    what: str,
    true: Callable[[], object],
    check: Callable[[], None],
    patience: float = _PATIENCE_SECONDS,
    look: float = _LOOK_SECONDS,
) -> float:
    """Wait until something is so; give the moment (monotonic).

    Args:
        what: It is, for who waits in vain.
        true: Tells whether it is so.
        check: Raises where waiting on is of no use.
        patience: Seconds to wait at most.
        look: Seconds between two looks.

    """
    deadline = time.monotonic() + patience
    while not true():
        check()
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain until {what}")
        time.sleep(look)
    return time.monotonic()


def per_event(before: Mapping[str, float], after: Mapping[str, float], events: int) -> dict[str, float]:
    """Give what was used of each thing for one event, in microseconds."""
    return {name: (after[name] - before[name]) / events * 1e6 for name in after}
