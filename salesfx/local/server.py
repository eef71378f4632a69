"""What the local Kafka and the local Redis have in common."""

import signal
import socket
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from enum import Enum
from pathlib import Path

from salesfx.local.errors import LocalServerError
from salesfx.local.process import Child

_LOG_LINES, _LOG_ERRORS = 12, 4
_LOG_KEPT = 4 * 1024 * 1024  # bytes; a larger log is put aside at the next start


class Answer(Enum):
    """What a server that is starting says."""

    NOTHING = "nothing"
    LOADING = "loading"
    READY = "ready"


class LocalServer(ABC):
    """One server process; the fault tests kill, pause and restart it through this.

    `address` is "127.0.0.1:PORT"; `log` the file with what the server prints.
    """

    name = "server"
    start_seconds = 60.0
    """How long to wait for an answer after the start."""
    stop_seconds = 30.0
    """How long to wait for the end after SIGTERM."""

    def __init__(
        self,
        *,
        folder: Path,
        port: int,
        progress: Callable[[str], None],
        launched: Callable[[str, int, str], None],
    ) -> None:
        self.folder = folder
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self.log = folder / f"{self.name.lower()}.log"
        self._progress = progress
        self._launched = launched
        self._child: Child | None = None
        self.put_aside = 0  # where the lines of this run begin, in bytes

    @abstractmethod
    def _command(self) -> list[str]:
        """Write the configuration; return the command that runs the server in the foreground."""

    @abstractmethod
    def _ask(self) -> Answer:
        """Ask the server, once, whether it is ready."""

    def _listens(self) -> bool:
        """Return whether anything accepts connections on the port: much cheaper than asking."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=2).close()
        except OSError:
            return False
        return True

    @property
    def pid(self) -> int | None:
        """The pid of the running server, None where it does not run."""
        return self._child.pid if self._child is not None and self._child.running else None

    def start(self) -> None:
        """Start the server and return when it answers; nothing happens where it runs.

        Raises LocalServerError, with the last lines of its log, where it ends or stays silent.
        """
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start the server without waiting for it."""
        if self.pid is not None:
            return
        command = self._command()
        self.put_aside = put_aside(self.log)
        try:
            self._child = Child(command, log=self.log, folder=self.folder)
        except OSError as error:
            raise LocalServerError(f"The local {self.name} could not be run ({command[0]}): {error}") from error
        self._launched(self.name, self._child.pid, self.address)

    def wait_ready(self) -> None:
        """Return when the server answers; raises LocalServerError as `start` does."""
        deadline = time.monotonic() + self.start_seconds
        while True:
            if self.pid is None:
                raise LocalServerError(self._died("ended before it was ready"))
            match self._ask():
                case Answer.READY:
                    return
                case Answer.LOADING:  # a large data set: it works, so it may take its time
                    deadline = time.monotonic() + self.start_seconds
                case Answer.NOTHING:
                    pass
            if time.monotonic() > deadline:
                raise LocalServerError(self._died(f"gave no answer within {self.start_seconds:.0f} s"))
            time.sleep(0.03)

    def stop(self) -> None:
        """End the server and wait for its end: SIGTERM, then SIGKILL with a notice to `progress`."""
        self.terminate()
        self.wait_stopped()

    def terminate(self) -> None:
        """Ask the server to end, without waiting."""
        if self._child is not None:
            self._child.signal(signal.SIGTERM)
            self._child.signal(signal.SIGCONT)  # a paused server would not hear it

    def wait_stopped(self) -> None:
        """Wait for the end of a server that was asked to; kill it where it does not come."""
        if self._child is not None and not self._child.wait(self.stop_seconds):
            self._progress(f"{self.name} (pid {self._child.pid}) did not stop in {self.stop_seconds:.0f} s: killing it")
            self.kill()
        self._child = None

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self._child is not None:
            self._child.signal(signal.SIGKILL)
            self._child.wait(self.stop_seconds)

    def pause(self) -> None:
        """SIGSTOP: the server keeps its connections and answers nothing."""
        if self._child is not None:
            self._child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT, after `pause`."""
        if self._child is not None:
            self._child.signal(signal.SIGCONT)

    def check(self) -> None:
        """Raise LocalServerError where a server that was started has ended by itself."""
        if self._child is not None and not self._child.running:
            raise LocalServerError(self._died("has ended"))

    def _died(self, what: str) -> str:
        code = self._child.returncode if self._child is not None else None
        status = "" if code is None else f" with status {code}" if code >= 0 else f" by {signal.Signals(-code).name}"
        lines = "".join(f"\n  {line}" for line in _last_lines(self.log, self.put_aside))
        return f"The local {self.name} {what}{status}. The end of {self.log}:{lines or ' (it is empty)'}"


def _last_lines(log: Path, start: int) -> list[str]:
    """Give the end of a log, and before it the last errors that lie farther back: Kafka says long before its end why it ends."""
    end: deque[str] = deque()
    errors: deque[str] = deque(maxlen=_LOG_ERRORS)
    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            file.seek(start)
            for line in file:
                end.append(line.rstrip()[:300])
                if len(end) > _LOG_LINES and _tells_why(earlier := end.popleft()):
                    errors.append(earlier)
    except FileNotFoundError:
        return []
    return [*errors, *end]


def _tells_why(line: str) -> bool:
    return " ERROR " in line or line.startswith("Caused by")


def put_aside(log: Path) -> int:
    """Put a log aside that has grown large; return its size in bytes."""
    size = log.stat().st_size if log.exists() else 0
    if size <= _LOG_KEPT:
        return size
    log.replace(log.with_suffix(".log.1"))
    return 0
