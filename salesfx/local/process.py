"""Processes: one that we start, and one that we only know by its pid."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from salesfx.local.errors import missing_extra

_LAUNCHER = Path(__file__).with_name("die_with_parent.py")


@dataclass(frozen=True)
class ProcessId:
    """A pid together with when its process started, so that a recycled pid is told apart."""

    pid: int
    started: str
    """Opaque; only to be compared."""

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """Return the identity of the process that has this pid now, None where there is none (or a zombie)."""
        started = _started(pid)
        return None if started is None else cls(pid, started)

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return _started(self.pid) == self.started

    def stop(self, *, grace: float) -> None:
        """End a process that is not our child: SIGTERM, and SIGKILL after `grace` seconds.

        Does nothing where the pid now belongs to another process.
        """
        for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
            deadline = time.monotonic() + seconds
            if not self._signal(number):
                return
            while self.alive and time.monotonic() < deadline:
                time.sleep(0.02)

    def _signal(self, number: signal.Signals) -> bool:
        if not self.alive:
            return False
        try:
            os.kill(self.pid, number)
            os.kill(self.pid, signal.SIGCONT)  # a stopped process would not hear SIGTERM
        except ProcessLookupError:
            return False
        return True


def _started(pid: int) -> str | None:
    if sys.platform == "linux":
        return _started_linux(pid)
    try:
        import psutil  # noqa: PLC0415  (only the extra `local` brings it)
    except ModuleNotFoundError as error:
        raise missing_extra("psutil") from error
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.3f}"
    except psutil.NoSuchProcess:
        return None


def _started_linux(pid: int) -> str | None:
    # Ticks since this boot: unlike a time of day, they do not move when the clock is set.
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return None if state in "ZX" else f"{boot}:{fields[18]}"


def _dying_with_us(command: list[str]) -> list[str]:
    if sys.platform != "linux":
        return command  # elsewhere the next start stops what was left behind
    return [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *command]


_INTERRUPTED_SECONDS = 10.0
"""How long a server that was being started when Ctrl-C came may take to end."""


class Child:
    """A server process of ours, in a session of its own: Ctrl-C in the terminal does not reach it.

    On Linux it gets SIGTERM when we die, however we die.
    """

    def __init__(
        self, command: list[str], *, log: Path, folder: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self._command = command
        self._environ = environ
        self._log = log
        self._folder = folder
        self._launched = threading.Event()
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._error: OSError | None = None
        # The kernel sends the SIGTERM when the *thread* that started the process ends: this one lives as long as it.
        thread = threading.Thread(target=self._run, name=f"salesfx-{log.stem}", daemon=True)
        try:
            thread.start()
            self._launched.wait()
        except BaseException:  # Ctrl-C just now: nobody else knows of the server yet
            if thread.ident is not None:
                self._launched.wait()
                self.signal(signal.SIGTERM)
                self.wait(_INTERRUPTED_SECONDS)
            raise
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with self._log.open("ab") as log:
                process = subprocess.Popen(
                    _dying_with_us(self._command),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self._folder,
                    env=None if self._environ is None else dict(self._environ),
                    start_new_session=True,
                    umask=0o077,
                )
        except OSError as error:
            self._error = error
            self._launched.set()
            return
        self._process = process
        self._launched.set()
        process.wait()
        self._ended.set()

    @property
    def pid(self) -> int:
        """The server's pid."""
        assert self._process is not None  # noqa: S101  (the constructor waits for it)
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.returncode if self._process is not None and self._ended.is_set() else None

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return not self._ended.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for its end; return whether it came."""
        return self._ended.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self._process is not None and self.running:
            self._process.send_signal(number)
