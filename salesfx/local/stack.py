"""Everything of `salesfx up`: Kafka, Redis, a worker and the HTTP server, on this machine, from one data folder."""

import os
import re
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from salesfx.errors import NeedsAttentionError, SalesfxError
from salesfx.local.process import Child
from salesfx.local.server import put_aside
from salesfx.local.servers import LocalServers
from salesfx.settings import Settings

READY_SECONDS = 60.0
_RESTART_SECONDS = 1.0
_MANY_RESTARTS, _MANY_RESTARTS_SECONDS = 12, 300.0
_STOP_SECONDS = 10.0
LOOPBACK = "127.0.0.1"
_SENTENCE = re.compile(r"salesfx(?: \w+)?: (.*)")
"""How our processes begin their last words."""


class LocalStack:
    """Servers and processes of one data folder; a context manager.

    A process that ends is started again, unless it says that somebody has to do something first.
    """

    def __init__(
        self,
        data: Path,
        settings: Settings,
        *,
        port: int | None,
        progress: Callable[[str], None],
        config_file: Path | None = None,
    ) -> None:
        """Make one.

        Args:
            data: Folder of everything that is kept.
            settings: What is in force; the addresses in it are replaced by the local servers'.
            port: HTTP port; None takes the one of the settings, or a free one where that is taken.
            progress: Gets short lines for the user's eyes.
            config_file: The settings file, where it is not the one that the processes find by themselves.

        """
        self._data = data
        self._progress = progress
        self._servers = LocalServers(data, progress=progress)
        self._port = _free_port(port, settings.http_port, progress)
        self._configured = settings
        self._config_file = config_file
        self._settings: Settings | None = None
        self._processes: list[_Process] = []

    @property
    def settings(self) -> Settings:
        """The settings with the local servers' addresses."""
        if self._settings is None:
            raise SalesfxError("the local servers were not started")
        return self._settings

    @property
    def url(self) -> str:
        """Where the HTTP server answers."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def redis_address(self) -> str:
        """Redis's address, for showing: without the password."""
        return self._servers.redis_process.address

    @property
    def redis_url_file(self) -> Path:
        """File with Redis's URL and password, for SALESFX_REDIS_FILE."""
        return self._servers.redis_process.url_file.absolute()

    def start(self) -> None:
        """Start everything and return when the HTTP server says that it is ready.

        Raises:
            SalesfxError: Something does not start; nothing is left running.

        """
        try:
            self._servers.start()
            ours = self._overrides()
            self._settings = msgspec.structs.replace(self._configured, **ours)
            environ = os.environ | {f"SALESFX_{name.upper()}": str(value) for name, value in ours.items()}
            if self._config_file is not None:
                environ["SALESFX_CONFIG"] = str(self._config_file.absolute())
            for name in ("worker", "serve"):
                process = _Process(name, self._data / f"{name}.log", environ, self._servers.also_running)
                self._processes.append(process)
                process.start()
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def _overrides(self) -> dict[str, Any]:
        """Give the settings that a production file would have otherwise than a single local server can."""
        return {
            "kafka": self._servers.kafka,
            "kafka_security_protocol": "PLAINTEXT",
            "kafka_ca_file": "",
            "kafka_cert_file": "",
            "kafka_key_file": "",
            "replication": 1,
            "redis": self._servers.redis,
            "http_host": LOOPBACK,
            "http_port": self._port,
        }

    def check(self) -> None:
        """Start processes again that have ended.

        Raises:
            SalesfxError: A server has died, or a process cannot go on without somebody's help.

        """
        self._servers.check()
        for process in self._processes:
            process.check(self._progress)

    def stop(self) -> None:
        """Stop everything; the data stays. May be called twice."""
        for process in reversed(self._processes):
            process.stop()
        self._processes.clear()
        self._servers.stop()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise SalesfxError(
                    f"the worker and the HTTP server were not ready in {READY_SECONDS:.0f} s; see {self._data}/*.log"
                )
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        headers = {"Authorization": f"Bearer {self.settings.http_token}"} if self.settings.http_token else {}
        request = urllib.request.Request(self.url + "/readyz", headers=headers)  # noqa: S310 - our own address
        try:
            with urllib.request.urlopen(request, timeout=2) as answer:  # noqa: S310
                return bool(answer.status == 200)  # noqa: PLR2004
        except (OSError, urllib.error.URLError):
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class _Process:
    """One of our own processes, started again when it ends."""

    def __init__(
        self, name: str, log: Path, environ: dict[str, str], launched: Callable[[str, int, str], None]
    ) -> None:
        self._name = name
        self._log = log
        self._environ = environ
        self._launched = launched
        self._child: Child | None = None
        self._starts: list[float] = []
        self._log_start = 0
        """Where the words of this run begin in the log, in bytes."""

    def start(self) -> None:
        self._starts.append(time.monotonic())
        put_aside(self._log)
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        command = [sys.executable, "-m", "salesfx", self._name]
        self._child = Child(command, log=self._log, folder=Path.cwd(), environ=self._environ)
        self._launched(self._name, self._child.pid, f"pid {self._child.pid}")

    def check(self, progress: Callable[[str], None]) -> None:
        child = self._child
        if child is None or child.running:
            return
        words = self._last_words()
        if child.returncode == NeedsAttentionError.exit_status:
            raise NeedsAttentionError(words)
        recent = [start for start in self._starts if time.monotonic() - start < _MANY_RESTARTS_SECONDS]
        if len(recent) >= _MANY_RESTARTS:
            raise SalesfxError(
                f"the {self._name} ended {len(recent)} times within {_MANY_RESTARTS_SECONDS / 60:.0f} minutes, last so: "
                f"{words.rstrip('.')}. See {self._log}"
            )
        progress(f"the {self._name} ended ({words}) and is started again")
        time.sleep(_RESTART_SECONDS)
        self.start()

    def stop(self) -> None:
        if self._child is not None:
            self._child.signal(signal.SIGTERM)
            if not self._child.wait(_STOP_SECONDS):
                self._child.signal(signal.SIGKILL)
                self._child.wait(_STOP_SECONDS)

    def _last_words(self) -> str:
        with self._log.open(encoding="utf-8", errors="replace") as log:
            log.seek(self._log_start)
            words = [match[1] for match in map(_SENTENCE.match, log) if match]
        if words:
            return words[-1]
        status = self._child.returncode if self._child is not None else None
        return signal.Signals(-status).name if status is not None and status < 0 else f"exit status {status}"


def _free_port(wanted: int | None, preferred: int, progress: Callable[[str], None]) -> int:
    port = preferred if wanted is None else wanted
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if wanted is not None:
                raise SalesfxError(f"port {port} is taken; choose another with --port") from error
        else:
            return int(probe.getsockname()[1])
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        free = int(probe.getsockname()[1])
    progress(f"port {port} is taken; using {free}")
    return free
