"""One run: faults by the plan, then the verdict."""

import asyncio
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from salesfx.local.folder import private_folder
from tests.soak.checking import Log, check_samples, differences, read_log, wrong_letters
from tests.soak.faults import Faults
from tests.soak.healing import Healing
from tests.soak.plan import Fault, plan
from tests.soak.report import Report
from tests.soak.stage import NAMESPACE, REPOSITORY, Stage
from tests.soak.watching import Sample
from tests.soak.workers import SMALL_BATCHES

WORKERS = 3
SNAPSHOTS_PER_SECOND = 5.0
_FIRST_COPY_SECONDS, _COPY_SECONDS = 3.0, 30.0
_SAY_SECONDS = 30.0
_LOOK_SECONDS = 0.5
_DRAIN_SECONDS, _HOPELESS_SECONDS = 600.0, 60.0
"""How long to wait for the end, and how long where workers have said that they cannot go on."""
_SHOWN = 20


class Run(Stage):
    """Everything of one run."""

    def __init__(self, folder: Path, seed: int, minutes: float, rate: float, patch: str = "") -> None:
        """Make one.

        Args:
            folder: For everything that it writes.
            seed: Of the plan, and of the events.
            minutes: How long faults come.
            rate: Events a second, on average.
            patch: Python that the workers run first: to break them.

        """
        super().__init__(folder, seed, rate, SMALL_BATCHES, patch)
        self.report = Report(seed, minutes)
        self._faults = Faults(self.servers, self.workers)
        self._healing = Healing(self.servers, NAMESPACE, self.publisher)
        self._watched: dict[str, Any] = {"snapshots": 0, "unanswered": 0, "samples": 0}
        self._carried_out: Counter[str] = Counter()

    async def run(self, check_seconds: float, least_exact: int) -> Report:
        """Run, check, and report.

        Args:
            check_seconds: About how long snapshots are checked exactly at the end.
            least_exact: How many of them at least.

        """
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(64))
        samples = private_folder(self.folder / "samples")
        self.say(f"seed {self.report.seed}: {len(plan(self.report.seed, self.report.minutes))} faults are planned")
        try:
            await self.start(WORKERS)
            async with self._in_background():
                async with self._watching(samples):
                    await self._play()
                await self._heal_and_drain()
                await self._check(samples, check_seconds, least_exact)
        finally:
            await self.stop()
        self._fill_report()
        return self.report

    @asynccontextmanager
    async def _in_background(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(task) for task in (self._look(), self._copy(), self._tell())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    self._defect(f"the run itself failed: {result!r}")

    async def _play(self) -> None:
        """Carry out the plan, while events are published all the time."""
        publishing = asyncio.create_task(self.publisher.run())
        start = time.monotonic()
        under_way: list[asyncio.Task[None]] = []
        for fault in plan(self.report.seed, self.report.minutes):
            await asyncio.sleep(max(0.0, start + fault.at - time.monotonic()))
            under_way.append(asyncio.create_task(self._carry_out(fault)))
        await asyncio.gather(*under_way)
        await asyncio.sleep(max(0.0, start + self.report.minutes * 60 - time.monotonic()))
        self.publisher.stop()
        await publishing

    async def _carry_out(self, fault: Fault) -> None:
        self.say(f"fault: {fault.kind}" + (f", {fault.seconds:.1f} s" if fault.seconds else ""))
        alone = self._healing.begins()
        try:
            done = await self._faults.carry_out(fault)
        except Exception as error:  # noqa: BLE001 - the run goes on, and has failed
            traceback.print_exc()
            self._defect(f"the fault {fault.kind} could not be carried out: {error!r}")
            done = "not carried out"
        else:
            self._carried_out[fault.kind.value] += 1
        self._healing.ends(fault.kind.value, alone=alone)
        self.say(f"  over: {fault.kind}" + (f": {done}" if done else ""))

    async def _look(self) -> None:
        while True:
            await self._healing.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _copy(self) -> None:
        await asyncio.sleep(_FIRST_COPY_SECONDS)
        while True:
            await self.servers.take_copy()
            await asyncio.sleep(_COPY_SECONDS)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(_SAY_SECONDS)
            self.say(
                f"{sum(self.publisher.published.values()):,} events published, lag {self._healing.lag:,}, "
                f"{self._watched['snapshots']:,} snapshots, {sum(self._carried_out.values())} faults, "
                f"{self._healing.open} not healed yet, {len(self.report.defects) + len(self.workers.ends.defects)} defects"
            )

    @asynccontextmanager
    async def _watching(self, samples: Path) -> AsyncIterator[None]:
        """Have readers read meanwhile, in a process of their own."""
        apart = max(1.0, self.report.minutes * 60 / 400)
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "tests.soak.watching",
                NAMESPACE,
                str(samples),
                str(SNAPSHOTS_PER_SECOND),
                str(apart),
            ),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={
                **self.environ(),
                "PYTHONPATH": str(REPOSITORY),
                "SOAK_REDIS": self.servers.url(self.servers.readers_to_redis),
            },
            cwd=REPOSITORY,
            limit=1 << 24,
        )
        assert process.stdin is not None
        listening = asyncio.create_task(self._listen(process))
        try:
            yield
        finally:
            process.stdin.close()
            await listening
            if await process.wait():
                self._defect(f"the readers ended with {process.returncode}")

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            said = json.loads(line)
            for wrong in said.pop("wrong", []):
                self._defect(f"a snapshot contradicts itself ({said.get('file', 'no file')}): {wrong}")
            self._watched.update(said)

    async def _heal_and_drain(self) -> None:
        for proxy in self.servers.proxies:
            proxy.heal()
        started = time.monotonic()
        self.say("no fault any more; waiting until everything is in the tables")
        seconds = _HOPELESS_SECONDS if self.workers.ends.defects else _DRAIN_SECONDS
        stored, ends = await self.drained(seconds)
        if stored != ends:
            self._defect(f"not drained in {seconds:.0f} s: {stored}, should be {ends}")
        self.report.drain_seconds = round(time.monotonic() - started, 1)
        self.say(f"drained in {self.report.drain_seconds} s")

    async def _check(self, samples: Path, seconds: float, least: int) -> None:
        await self.workers.stop()
        final = await self.tables()
        log = await read_log(self.site, self.say)
        self.report.defects += [f"the log: {defect}" for defect in log.defects[:_SHOWN]]
        if any(log.ends[name] < end for name, end in self.publisher.ends.items()):
            self._defect(f"Kafka has lost acknowledged events: {log.ends} against {self.publisher.ends}")
        self.report.events = sum(log.ends.values())
        self.report.unusable = sum(map(len, log.refused.values()))
        await self._check_final(final, log)
        self.say("checking snapshots exactly")
        self.report.snapshots_exact, wrong = await asyncio.to_thread(
            check_samples, samples, log, seconds, least, self.say
        )
        self.report.defects += [f"a snapshot is not the table of its prefix: {what}" for what in wrong]

    async def _check_final(self, final: Sample, log: Log) -> None:
        if final.offsets != log.ends:
            self._defect(f"at the end the stored offsets are {final.offsets}, should be {log.ends}")
        wrong = await asyncio.to_thread(differences, final, log)
        self.report.cells = sum(map(len, final.tables.values()))
        if wrong:
            final.write(self.folder / "final")
            self._defect(f"the tables at the end have {len(wrong)} differences")
            for what in wrong[:_SHOWN]:
                self._defect(f"at the end: {what}")
        letters = await wrong_letters(self.site, log)
        for what in letters[:_SHOWN]:
            self._defect(what)
        self.say(
            f"at the end: {len(wrong)} differences in {self.report.cells:,} cells, {len(letters)} wrong dead letters"
        )

    def _defect(self, what: str) -> None:
        self.report.defects.append(what)
        if len(self.report.defects) <= 2 * _SHOWN:
            self.say(f"DEFECT {what}")

    def _fill_report(self) -> None:
        report, ends = self.report, self.workers.ends
        report.faults = dict(self._carried_out)
        report.published = dict(self.publisher.published)
        report.worker_ends = dict(ends.by_status)
        report.last_words = dict(ends.words)
        report.snapshots = self._watched["snapshots"]
        report.snapshots_unanswered = self._watched["unanswered"]
        report.longest_seconds_to_heal = dict(self._healing.longest)
        report.longest_seconds_to_heal_alone = dict(self._healing.longest_alone)
        report.defects += ends.defects
