"""A contender in a process of its own, which tells by lines on its standard output how far it has come.

`progress N` says that N events are done, `totals {...}` what its tables came to when all are.
"""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.contenders.contender import Totals

_GRACE_SECONDS = 15.0
_SHOWN = 2000
"""Characters of its last words."""


class ReportingProcess:
    """One run of such a process; a context manager that stops it with all that it started."""

    def __init__(self, argv: Sequence[str], *, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        """Start it.

        Args:
            argv: The command.
            folder: Where it runs, and where its standard error is kept.
            environ: Put over the environment.

        """
        self._said = folder / "stderr.log"
        self._done = 0
        self._totals: Totals | None = None
        self._told = threading.Event()
        with self._said.open("wb") as errors:
            self._process = subprocess.Popen(
                list(argv),
                cwd=folder,
                env={**os.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        for line in self._process.stdout:
            kind, _, rest = line.partition(" ")
            if kind == "progress":
                self._done = int(rest)
            elif kind == "totals":
                self._totals = json.loads(rest)
                self._told.set()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def done(self) -> int:
        """Tell how many events it has reported.

        Raises:
            SystemExit: It has ended without reporting its totals.

        """
        if self._process.poll() is not None and not self._told.wait(1.0):
            words = self._said.read_text(encoding="utf-8", errors="replace")[-_SHOWN:]
            raise SystemExit(f"it ended with status {self._process.returncode}:\n{words}")
        return self._done

    def totals(self) -> Totals | None:
        """Wait for its totals."""
        if not self._told.wait(60.0):
            raise SystemExit(f"it told no totals; see {self._said}")
        return self._totals

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return  # it has ended by itself
