"""Plants bugs in copies of the source tree, one in each, and runs the tests that should notice them."""

import compileall
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self
from xml.etree import ElementTree as ET

from tests.mutants.bug import Bug, DoesNotApplyError

ROOT = Path(__file__).parents[2]
LONGEST_SECONDS = 300.0
"""For the tests of one bug. None that is caught takes so long: a test that hangs has not said what is wrong."""
_NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "salesfx-data", "secrets")
_SHOWN_OUTPUT = 4000
_DOES_NOT_RUN = ("NameError", "UnboundLocalError", "AttributeError", "TypeError", "ImportError", "SyntaxError")


class Failure(NamedTuple):
    """A test that failed."""

    test: str
    """Its id."""
    said: str
    """The first line of what it said."""


class Run(NamedTuple):
    """What pytest said."""

    passed: frozenset[str]
    failed: tuple[Failure, ...]
    """The first one first. A test that could not begin has not failed."""
    trouble: str
    """Why there is no verdict: the run broke, or did not end; empty where there is one."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a planted bug."""

    bug: Bug
    line: int
    """Where it was planted; 0 where it could not be."""
    caught_by: Failure | None
    """The first test that failed."""
    why_not: str
    """Why it does not count as caught; empty where it does."""
    seconds: float

    @property
    def caught(self) -> bool:
        """Whether a test failed that passes without the bug."""
        return not self.why_not


@dataclass
class Nursery:
    """Copies of the source tree, in a folder that is removed at the end."""

    keep: bool = False
    folder: Path = field(init=False)
    _running: set[subprocess.Popen[str]] = field(init=False, default_factory=set)
    _stopped: threading.Event = field(init=False, default_factory=threading.Event)

    def __enter__(self) -> Self:
        """Copy the tree: what is worked on meanwhile changes nothing."""
        self.folder = Path(tempfile.mkdtemp(prefix="salesfx-mutants-")).resolve()
        shutil.copytree(ROOT, self._pristine, ignore=_NOT_COPIED)
        for package in ("salesfx", "streams"):
            compileall.compile_dir(self._pristine / package, quiet=2)
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs, and remove the copies."""
        self.stop()
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _pristine(self) -> Path:
        return self.folder / "trees" / "no-bug"

    def stop(self) -> None:
        """End what still runs, from any thread; nothing more is begun."""
        self._stopped.set()
        for process in list(self._running):
            _kill(process)

    def run_without_bug(self, tests: Iterable[str]) -> Run:
        """Run tests in the copy that has no bug, all of them to the end."""
        return self._run(self._pristine, list(tests), "--maxfail=0", seconds=4 * LONGEST_SECONDS)

    def run_with(self, bug: Bug) -> tuple[int, Run]:
        """Plant a bug in a copy of its own, and run its tests up to the first that fails.

        Returns:
            The line where it was planted, 0 where it could not be, and what pytest said.

        """
        tree = self.folder / "trees" / bug.name
        shutil.copytree(self._pristine, tree)
        file = tree / bug.file
        try:
            text = file.read_text(encoding="utf-8")
            line = bug.line(text)
            file.write_text(bug.mutate(text), encoding="utf-8")
            return line, self._run(tree, list(bug.tests), "--maxfail=1", seconds=LONGEST_SECONDS)
        except (DoesNotApplyError, OSError) as error:
            return 0, Run(frozenset(), (), str(error), 0)
        finally:
            if not self.keep:
                shutil.rmtree(tree, ignore_errors=True)

    def _run(self, tree: Path, tests: list[str], *options: str, seconds: float) -> Run:
        began = time.monotonic()
        apart = self.folder / "runs" / tree.name
        apart.mkdir(parents=True)
        report, output = apart / "junit.xml", apart / "output.txt"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.mutants.plugin", "-p", "no:cacheprovider"]
        command += ["--tb=short", "--hypothesis-seed=0", f"--junitxml={report}", *options, *tests]
        with output.open("w", encoding="utf-8") as out:
            process = subprocess.Popen(
                command,
                cwd=tree,
                env=_environment(tree, apart),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            self._running.add(process)
            try:
                if self._stopped.is_set():
                    _kill(process)
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                return Run(frozenset(), (), f"its tests did not end within {seconds:.0f} s", seconds)
            finally:
                _kill(process)
                self._running.discard(process)
        took = time.monotonic() - began
        if process.returncode in {0, 1} and report.exists():
            return read_report(report)._replace(seconds=took)
        said = output.read_text(encoding="utf-8", errors="replace")[-_SHOWN_OUTPUT:].strip()
        return Run(frozenset(), (), f"pytest ended with status {process.returncode}:\n{said}", took)


def judge(
    nursery: Nursery, bugs: Sequence[Bug], jobs: int, note: Callable[[Bug, Run], None]
) -> tuple[Run, list[Verdict]]:
    """Plant bugs and see what catches them.

    The tests are run without any bug too, all at once: one that fails there as well has caught nothing.

    Args:
        nursery: Where to plant.
        bugs: Which, in the order of the verdicts.
        jobs: How many test runs may go on at a time.
        note: Called with each run as it ends, from any thread.

    Returns:
        What the tests said without a bug, and the verdicts.

    """
    tests = dict.fromkeys(test for bug in bugs for test in bug.tests)

    def plant(bug: Bug) -> tuple[int, Run]:
        line, run = nursery.run_with(bug)
        note(bug, run)
        return line, run

    with ThreadPoolExecutor(jobs) as pool:
        try:
            without = pool.submit(nursery.run_without_bug, tests)
            planted = [(bug, pool.submit(plant, bug)) for bug in bugs]
            verdicts = [verdict_of(bug, *future.result(), without.result()) for bug, future in planted]
        except BaseException:  # Ctrl-C among them: the pool would wait for all that is still to be planted
            nursery.stop()
            pool.shutdown(cancel_futures=True)
            raise
    return without.result(), verdicts


def verdict_of(bug: Bug, line: int, planted: Run, without: Run) -> Verdict:
    """Judge a bug by what its tests say with it and without it."""
    first = planted.failed[0] if planted.failed else None
    why_not = ""
    if first is None:
        why_not = planted.trouble or "its tests pass"
    elif first.said.startswith(_DOES_NOT_RUN):
        why_not = f"the planted code does not run, which any test would catch: {first.said}"
    elif first.test not in without.passed:
        why_not = without.trouble or f"{first.test} does not pass without the bug either"
    return Verdict(bug, line, first, why_not, planted.seconds)


def _environment(tree: Path, apart: Path) -> dict[str, str]:
    """Give an environment in which the copy's code is run, and no setting of the user's is."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SALESFX_", "PYTEST_"))}
    # Without byte code written: a copy's must never be taken for another's.
    written = {"TMPDIR": str(apart), "HYPOTHESIS_STORAGE_DIRECTORY": str(apart / "hypothesis")}
    return {**ours, **written, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}


def read_report(report: Path) -> Run:
    """Read what pytest wrote in JUnit's form; it took no time as far as is known here."""
    passed, failed, broken = [], [], []
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - pytest wrote it just now
        name = f"{str(case.get('classname')).replace('.', '/')}.py::{case.get('name')}"
        failure = case.find("failure")
        if failure is not None:
            failed.append(Failure(name, (failure.get("message") or "").partition("\n")[0]))
        elif case.find("error") is not None:
            broken.append(name)
        elif case.find("skipped") is None:
            passed.append(name)
    trouble = f"{broken[0]} could not begin" if broken else ""
    return Run(frozenset(passed), tuple(failed), trouble, 0)


def _kill(process: subprocess.Popen[str]) -> None:
    """End a run and what it has left; its servers end with it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()
