"""Who runs the servers of a data folder: at most one process at a time."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from salesfx.local.errors import LocalSetupError
from salesfx.local.file_lock import FileLock
from salesfx.local.folder import write_private
from salesfx.local.process import ProcessId

_ORPHAN_GRACE = 30.0  # seconds


class Ownership:
    """A lock on a data folder, with a record of who holds it and of the servers it runs.

    The lock goes with the process that holds it; the record (pid, start time, addresses) is for the message to a second
    process, and for stopping the servers that a killed one left behind.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._file = data / "running.json"
        self._lock = FileLock(data / "lock")
        self._record: dict[str, Any] = {}

    def acquire(self, progress: Callable[[str], None]) -> None:
        """Take the folder; stop what a killed owner left running.

        Raises LocalSetupError, naming the owner, where another one lives.
        """
        if not self._lock.acquire(wait=False):
            raise LocalSetupError(_in_use(self._data, _read(self._file)))
        try:
            self._take_over(_read(self._file), progress)
            self._enter()
        except BaseException:
            self._lock.release()
            raise

    def _take_over(self, record: dict[str, Any], progress: Callable[[str], None]) -> None:
        owner = _identity(record)
        if owner is not None and owner.alive:  # a file system may pretend to lock; the record still tells
            raise LocalSetupError(_in_use(self._data, record))
        for name, server in reversed(record.get("servers", {}).items()):  # those that stand on others first
            orphan = _identity(server)
            if orphan is not None and orphan.alive:
                progress(f"stopping {name} (pid {orphan.pid}), left running by process {record.get('pid')}")
                orphan.stop(grace=_ORPHAN_GRACE)

    def _enter(self) -> None:
        me = ProcessId.of(os.getpid())
        since = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
        self._record = {"pid": os.getpid(), "started": me.started if me else "", "since": since, "servers": {}}
        self._write()

    def add_server(self, name: str, pid: int, address: str) -> None:
        """Put a server that was just started on the record."""
        identity = ProcessId.of(pid)
        if identity is not None:
            self._record["servers"][name] = {"pid": pid, "started": identity.started, "address": address}
            self._write()

    def release(self) -> None:
        """Give the folder back, where it is ours; the servers must have been stopped before."""
        if self._record:
            self._file.unlink(missing_ok=True)
            self._record = {}
        self._lock.release()

    def _write(self) -> None:
        write_private(self._file, json.dumps(self._record, indent=1) + "\n")


def _identity(record: dict[str, Any]) -> ProcessId | None:
    pid, started = record.get("pid"), record.get("started")
    return ProcessId(pid, started) if isinstance(pid, int) and isinstance(started, str) else None


def _in_use(data: Path, record: dict[str, Any]) -> str:
    servers = ", ".join(f"{name} {server.get('address')}" for name, server in record.get("servers", {}).items())
    return (
        f"The data folder {data} is in use by process {record.get('pid', '(unknown)')}, "
        f"running since {record.get('since', '(unknown)')} ({servers or 'its servers are starting'}). "
        "Stop that one first, or choose another folder with --data."
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
