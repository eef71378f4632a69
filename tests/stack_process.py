"""`salesfx up` and `salesfx demo` as real processes, and other commands of the command line beside them."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from kafka import KafkaProducer
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from salesfx.events import TOPICS
from salesfx.heartbeat import message

PATIENCE = 120.0
"""Seconds for what has no time of its own: the machine may be busy with other things."""
_MAIN = "\nfrom salesfx.cli import main\nmain()\n"
_ROOT = Path(__file__).parent.parent
_KEPT = 6000
"""Characters of each log in the message of a failure."""


class Done(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    err: str


def salesfx(*arguments: str, environ: Mapping[str, str] | None = None, stdin: bytes = b"") -> Done:
    """Run a command of the command line to its end."""
    command = [sys.executable, "-m", "salesfx", *arguments]
    done = subprocess.run(
        command, env=clean_environ(environ), input=stdin, capture_output=True, timeout=PATIENCE, check=False
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def clean_environ(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the environment without settings of the developer's own, and with these."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SALESFX_")}
    return {**ours, "PYTHONPATH": str(_ROOT), **(environ or {})}


def eventually(what: str, ask: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait until a question is answered by something true, and give that."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)
    return answer


class StackProcess:
    """`salesfx up` or `salesfx demo`, started by `running`."""

    def __init__(self, data: Path, command: list[str], environ: Mapping[str, str]) -> None:
        self.data = data
        self._logs = Path(tempfile.mkdtemp(prefix=f"{data.name}-", dir=data.parent))
        self._out, self._err = self._logs / "out", self._logs / "err"
        self.started_at = time.monotonic()
        with self._out.open("wb") as out, self._err.open("wb") as err:
            # A session of its own: Ctrl-C of the developer's must reach the tests first.
            self.process = subprocess.Popen(
                command,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self._logs,
                start_new_session=True,
            )

    # ------------------------------------------------------------------------------------------- what it said

    @property
    def out(self) -> str:
        """What it has printed for its user."""
        return self._out.read_text(encoding="utf-8", errors="replace")

    @property
    def err(self) -> str:
        """What it has printed on standard error."""
        return self._err.read_text(encoding="utf-8", errors="replace")

    @property
    def sentence(self) -> str:
        """Its last words, where it ended with an error: what comes after `salesfx:`."""
        words = re.split(r"^salesfx: ", self.err, flags=re.MULTILINE)
        return words[1].strip() if len(words) == 2 else ""  # once, and nothing else after it

    def told(self) -> str:
        """Tell all that it and its processes have said, for the message of a failure."""
        logs = [self._out, self._err, *sorted(self.data.glob("*.log")), *sorted(self.data.glob("*/*.log"))]
        parts = [f"--- {log}:\n{log.read_text(encoding='utf-8', errors='replace')[-_KEPT:]}" for log in logs]
        return "\n".join([f"status {self.process.poll()}", *parts])

    def said(self, words: str) -> bool:
        """Tell whether it has printed these words; it must not have ended without them."""
        ended = self.process.poll() is not None
        if words in self.out + self.err:
            return True
        if ended:
            pytest.fail(f"it ended with {self.process.returncode} before it said {words!r}")
        return False

    def wait_said(self, words: str, seconds: float = PATIENCE) -> None:
        """Wait until it has printed these words."""
        eventually(f"it says {words!r}", lambda: self.said(words), seconds)

    def wait_ready(self, seconds: float = PATIENCE) -> float:
        """Wait until it is ready and has told its addresses; give the seconds that it took since the start."""
        self.wait_said("  data ", seconds)
        return time.monotonic() - self.started_at

    @property
    def url(self) -> str:
        """Where its HTTP server answers."""
        return self._found(r"^ready (http://\S+)$")

    @property
    def kafka(self) -> str:
        """Address of its Kafka."""
        return self._found(r"^ +kafka (\S+)")

    @property
    def redis(self) -> str:
        """URL of its Redis, with the password."""
        password = (self.data / "redis" / "password").read_text(encoding="utf-8").strip()
        address = self._found(r"^ +redis (\S+)")
        return f"redis://:{password}@{address}/0"

    @property
    def environ(self) -> dict[str, str]:
        """The settings with which other commands reach it."""
        return {"SALESFX_KAFKA": self.kafka, "SALESFX_REDIS": self.redis}

    def _found(self, pattern: str) -> str:
        match = re.search(pattern, self.out, re.MULTILINE)
        assert match, f"no {pattern} in its output:\n{self.out}"
        return match[1]

    # --------------------------------------------------------------------------------------- what it answers

    def get(self, path: str) -> str:
        """Read a page of its HTTP server."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=30) as answer:  # noqa: S310 - our own address
                body: bytes = answer.read()
        except urllib.error.HTTPError as error:
            pytest.fail(f"{path} answered {error.code}: {error.read().decode()}")
        except OSError as error:
            pytest.fail(f"{path} is not answered (the exit status is {self.process.poll()}): {error}")
        return body.decode()

    def month(self, month: str) -> dict[str, Any]:
        """Ask `/api/months` for a month."""
        report: dict[str, Any] = json.loads(self.get(f"/api/months/{month}"))
        return report

    def metrics(self) -> dict[str, Metric]:
        """Scrape it: the families by their names."""
        return {family.name: family for family in text_string_to_metric_families(self.get("/metrics"))}

    def taken(self) -> int:
        """Tell how many events have come to the tables, or to the dead letters."""
        families = self.metrics()
        names = ("salesfx_events_processed", "salesfx_events_rejected")
        # Each sample has a twin that tells when it was created.
        samples = [sample for name in names for sample in families[name].samples if sample.name == name + "_total"]
        return int(sum(sample.value for sample in samples))

    def publish_rubbish(self, count: int = 1) -> None:
        """Let events be refused, past the publisher, which would not send them."""
        producer = KafkaProducer(bootstrap_servers=self.kafka)
        for _ in range(count):
            producer.send("lead_created", b"no JSON").get(PATIENCE)
        producer.close()

    def heartbeat(self, feed: str, sent: datetime) -> None:
        """Let a feed be heard as of a moment that has passed."""
        key, value, headers = message(feed, sent)
        producer = KafkaProducer(bootstrap_servers=self.kafka)
        for topic in TOPICS:
            producer.send(topic, key=key, value=value, headers=headers).get(PATIENCE)
        producer.close()

    def wait_taken(self, count: int, seconds: float = PATIENCE) -> None:
        """Wait until so many events, and not more, are in the tables."""
        eventually(f"{count} events are taken", lambda: self.taken() >= count, seconds)
        assert self.taken() == count

    # -------------------------------------------------------------------------------------------- its processes

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def children(self) -> list[psutil.Process]:
        """List the processes that it runs, their own ones among them; such an object knows a recycled pid."""
        return psutil.Process(self.process.pid).children(recursive=True) if self.running else []

    def child(self, words: str) -> psutil.Process | None:
        """Find the process that has these words at the end of its command line, or its program's name."""
        for process in self.children():
            try:
                line = " ".join(process.cmdline())
                if line.endswith(words) or process.name().startswith(words):
                    return process
            except psutil.Error:
                continue  # it has just ended, or has not become its program yet
        return None

    def wait_child(self, words: str) -> psutil.Process:
        """Wait until it runs such a process."""
        found: psutil.Process = eventually(f"it runs {words}", lambda: self.child(words))
        return found

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait_ended(self, seconds: float = PATIENCE) -> int:
        """Wait for its end, and give its exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it had not ended after {seconds:.0f} s")

    def stop(self, number: signal.Signals = signal.SIGINT, times: int = 1) -> list[psutil.Process]:
        """Stop it as its user does; it must end well. Give those of its processes that are left: there should be none."""
        children = self.children()
        for _ in range(times):
            self.send(number)
        status = self.wait_ended()
        assert status == 0, f"it ended with {status}"
        return [child for child in children if alive(child)]


def alive(process: psutil.Process) -> bool:
    """Tell whether this very process still runs; one that only waits for its parent to hear of its end does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def running(
    command: str,
    data: Path,
    *options: str,
    before: tuple[str, ...] = (),
    port: int | None = 0,
    patch: str = "",
    environ: Mapping[str, str] | None = None,
) -> Iterator[StackProcess]:
    """Run `salesfx up` or `salesfx demo`; nothing of it is left at the end, and a failure tells what it said.

    Args:
        command: `up` or `demo`.
        data: Its data folder. What it says goes beside it.
        options: Of the command.
        before: Options before the command.
        port: That is asked for; 0 is a free one, None asks for none.
        patch: Python that its process runs first.
        environ: Settings.

    """
    program = ["-c", patch + _MAIN] if patch else ["-m", "salesfx"]
    line = [sys.executable, *program, *before, command, "--data", str(data), *options]
    if port is not None:
        line += ["--port", str(port)]
    stack = StackProcess(data, line, clean_environ(environ))
    children: list[psutil.Process] = []
    try:
        yield stack
    except BaseException:
        print(stack.told())  # noqa: T201
        raise
    finally:
        if stack.running:
            children = stack.children()
            stack.process.kill()
        stack.process.wait()
        for child in children:
            if alive(child):
                child.kill()
        psutil.wait_procs(children, timeout=30)
