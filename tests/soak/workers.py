"""The workers of a run: processes that are started again when they end, as `up` or systemd do it."""

import asyncio
import contextlib
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from salesfx.local.process import Child

_MAIN = "\nfrom salesfx.cli import main\nmain()\n"
_RESTART_SECONDS = 0.5
_STOP_SECONDS = 30.0
_LOOK_SECONDS = 0.1
SMALL_BATCHES = (250, 1000, 100, 500)
"""Records of a batch, by worker: small enough that faults hit in the middle."""
_VARYING = re.compile(r"[0-9a-fx.]*[0-9]+")


class Worker:
    """One place for a worker; many processes may fill it, one after the other."""

    def __init__(self, number: int, folder: Path, environ: Mapping[str, str], patch: str, ends: "Ends") -> None:
        self.number = number
        self._log = folder / f"worker-{number}.log"
        self._command = [sys.executable, "-c", patch + _MAIN, "worker"]
        self._environ = environ
        self._ends = ends
        self._wanted = True
        self._told_to_stop = False
        self.child: Child | None = None
        self.task = asyncio.create_task(self._run())

    @property
    def running(self) -> bool:
        """Whether there is a process now."""
        return self.child is not None and self.child.running

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, where there is one."""
        if self.child is not None:
            self.child.signal(number)

    async def remove(self) -> None:
        """Tell the process to stop, and start no other."""
        self._wanted = False
        self._told_to_stop = True
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.task), _STOP_SECONDS)
            return
        self._ends.defect(f"worker {self.number} did not end within {_STOP_SECONDS:.0f} s of SIGTERM")
        self.signal(signal.SIGKILL)
        await self.task

    async def _run(self) -> None:
        while self._wanted:
            start = self._log.stat().st_size if self._log.exists() else 0
            self.child = await asyncio.to_thread(
                Child, self._command, log=self._log, folder=self._log.parent, environ=self._environ
            )
            if not self._wanted:
                self.signal(signal.SIGTERM)
            while self.child.running:  # noqa: ASYNC110 - it is a process, and has no event
                await asyncio.sleep(_LOOK_SECONDS)
            self._ends.note(self.number, self.child.returncode, self._last_words(start), told=self._told_to_stop)
            await asyncio.sleep(_RESTART_SECONDS if self._wanted else 0)

    def _last_words(self, start: int) -> str:
        with self._log.open(encoding="utf-8", errors="replace") as log:
            log.seek(start)
            said = [line.strip() for line in log if line.startswith("salesfx")]
        return said[-1] if said else ""


class Ends:
    """How worker processes ended."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.by_status: Counter[str] = Counter()
        self.words: Counter[str] = Counter()
        """Last words of those that ended by themselves, numbers left out."""
        self.defects: list[str] = []
        """Ends that no fault explains."""

    def note(self, number: int, status: int | None, words: str, *, told: bool) -> None:
        """Judge one end: by our SIGKILL, by our SIGTERM, or with status 1, which a new process heals."""
        self.by_status[str(status)] += 1
        if status == -signal.SIGKILL:
            return
        if words:
            self.words[_VARYING.sub("#", words)] += 1
        if status == 1 or (told and status in {0, -signal.SIGTERM}):
            self._say(f"worker {number} ended with {status} {words[:200]}")
        else:
            self.defect(f"worker {number} ended with {status}: {words}")

    def defect(self, what: str) -> None:
        """Note what must not happen."""
        self._say(f"DEFECT {what}")
        self.defects.append(what)


class Workers:
    """All of them."""

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        say: Callable[[str], None],
        batches: Sequence[int] = (),
        patch: str = "",
    ) -> None:
        """Make them.

        Args:
            folder: Of their logs.
            environ: Of their processes.
            say: Gets short lines for the user's eyes.
            batches: Most records of a batch, by worker; without any, as in production.
            patch: Python that each runs first: to break it.

        """
        self._folder = folder
        self._environ = environ
        self._batches = batches
        self._patch = patch
        self._next = 0
        self.ends = Ends(say)
        self.all: list[Worker] = []

    def add(self) -> Worker:
        """Start one more."""
        patch = self._patch
        if self._batches:
            size = self._batches[self._next % len(self._batches)]
            patch += f"\nimport streams.app\nstreams.app.BATCH_RECORDS = {size}\n"
        worker = Worker(self._next, self._folder, self._environ, patch, self.ends)
        self._next += 1
        self.all.append(worker)
        return worker

    async def remove(self, worker: Worker) -> None:
        """Stop one, for good; where it is gone already, the youngest."""
        if worker not in self.all:
            worker = self.all[-1]
        self.all.remove(worker)
        await worker.remove()

    def pick(self, amount: float) -> Worker | None:
        """Choose one that runs; None where none does."""
        running = [worker for worker in self.all if worker.running]
        return running[int(amount * len(running))] if running else None

    async def stop(self) -> None:
        """Stop all."""
        workers, self.all = self.all, []
        await asyncio.gather(*(worker.remove() for worker in workers))
