"""The phases of a measurement: what runs in each, and what is noted."""

import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from bench.latency.notes import Due, Scrape, Sent, Sighting, shown_by
from bench.workers import Seen, environ_of, wait_until
from salesfx.settings import Settings

BARE = "bare."
"""Before the names of the topics that nobody but a plain consumer reads."""
_HEAD_START = 0.5
"""Seconds between everybody's being ready and the first event's being due."""
_PATIENCE = 300.0
"""Seconds that the last event may take, where more came than can be kept up with."""
_COUNTERS = ("salesfx_events_processed", "salesfx_events_rejected")


@dataclass
class Phase:
    """What was noted in one phase."""

    sent: Sent
    sightings: Sequence[Sighting]
    scraped: Sequence[Sighting] = ()
    scrapes: Sequence[Scrape] = ()


class Stage:
    """The servers, the worker that is measured, and the processes that publish and look."""

    def __init__(self, settings: Settings, folder: Path, check: Callable[[], None], pause: float) -> None:
        """Make it.

        Args:
            settings: Where the servers are.
            folder: For what the processes note down.
            check: Raises where a server or the worker has ended.
            pause: Seconds from an answer of `/metrics` to the next question.

        """
        self._settings = settings
        self._folder = folder
        self._check = check
        self._pause = pause
        self._seen = Seen(settings)

    def bare(self, rate: float, events: list[Due]) -> Phase:
        """Publish to a plain consumer; the worker runs and has nothing to do."""
        arguments = [self._settings.kafka, BARE, str(self._settings.partitions), str(len(events))]
        with self._helper("consumer", arguments) as consumer:
            sent = self._published(rate, events, BARE, [consumer])
            return Phase(sent, consumer.notes(list[Sighting]))

    def redis(self, rate: float, events: list[Due]) -> Phase:
        """Publish to the worker, and see when Redis shows it."""
        with self._helper("watcher", [self._settings.namespace, str(len(events))]) as watcher:
            sent = self._published(rate, events, "", [watcher])
            return Phase(sent, watcher.notes(list[Sighting]))

    def scrape(self, rate: float, events: list[Due], url: str) -> Phase:
        """Publish to the worker, and see when `/metrics` shows it."""
        scraper = _Scraper(url, self._pause, self._seen.done() + len(events))
        with self._helper("watcher", [self._settings.namespace, str(len(events))]) as watcher:
            scraper.start()
            try:
                sent = self._published(rate, events, "", [watcher])
                seen = watcher.notes(list[Sighting])
                wait_until("/metrics shows all", lambda: not scraper.is_alive(), self._check)
            finally:
                scraper.over.set()
        scrapes = scraper.answers()
        return Phase(sent, seen, shown_by(scrapes, seen), scrapes)

    def _published(self, rate: float, events: list[Due], prefix: str, lookers: Sequence["Helper"]) -> Sent:
        with publishing(self._settings, self._folder, rate, events, self._check, prefix) as publisher:
            for each in [*lookers, publisher]:
                each.ready()
            publisher.begin()
            return publisher.sent()

    def _helper(self, name: str, arguments: Sequence[str]) -> AbstractContextManager["Helper"]:
        return _running(Helper(name, arguments, self._folder, self._settings, self._check))


class Helper:
    """A process that publishes or looks, and notes down what it saw."""

    def __init__(
        self, name: str, arguments: Sequence[str], folder: Path, settings: Settings, check: Callable[[], None]
    ) -> None:
        """Start it.

        Args:
            name: Of its module, before `_process`.
            arguments: For it, before the file for its notes.
            folder: For this file.
            settings: For its environment.
            check: Raises where waiting for it is of no use.

        """
        self._name, self._check = name, check
        self._file = folder / f"{name}.notes"
        self._file.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"bench.latency.{name}_process", *arguments, str(self._file)],
            env=environ_of(settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> None:
        """Wait until it is."""
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        if self._process.stdout.readline().strip() != "ready":
            raise SystemExit(f"the {self._name} did not start")

    def begin(self) -> None:
        """Have it begin soon."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(f"{time.monotonic() + _HEAD_START!r}\n")
        self._process.stdin.flush()

    def sent(self) -> Sent:
        """Wait for a publisher's end, and read what it noted."""
        sent: Sent = self.notes(Sent)
        return sent

    def notes(self, kind: Any) -> Any:
        """Wait for its end, and read what it noted."""
        wait_until(f"the {self._name} ends", lambda: self._process.poll() is not None, self._check, _PATIENCE)
        if self._process.returncode:
            raise SystemExit(f"the {self._name} ended with status {self._process.returncode}")
        return msgspec.msgpack.decode(self._file.read_bytes(), type=kind)

    def end(self) -> None:
        """End it, where it has not ended."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def _running(helper: Helper) -> Iterator[Helper]:
    try:
        yield helper
    finally:
        helper.end()


def publishing(
    settings: Settings, folder: Path, rate: float, events: list[Due], check: Callable[[], None], prefix: str = ""
) -> AbstractContextManager[Helper]:
    """Start a publisher of these events, which waits to be told to begin."""
    due = folder / "due"
    due.write_bytes(msgspec.msgpack.encode(events))
    arguments = [settings.kafka, prefix, str(rate), str(due)]
    return _running(Helper("publisher", arguments, folder, settings, check))


class _Scraper(threading.Thread):
    """Asks for `/metrics`, and after each answer and a pause again, until an answer counts so many events."""

    def __init__(self, url: str, pause: float, count: int) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self._address = urlsplit(url).netloc
        self._pause = pause
        self._count = count
        self._answers: list[tuple[float, float, bytes]] = []

    def run(self) -> None:
        """Ask until it is over; only the counters are looked at meanwhile."""
        connection = http.client.HTTPConnection(self._address, timeout=60)
        while not self.over.is_set():
            asked = time.monotonic()
            connection.request("GET", "/metrics")
            body = connection.getresponse().read()
            lines = [line for line in body.splitlines() if line.startswith(tuple(map(str.encode, _COUNTERS)))]
            self._answers.append((asked, time.monotonic(), b"\n".join(lines)))
            if sum(float(line.split()[-1]) for line in lines if b"_total" in line) >= self._count:
                return
            self.over.wait(self._pause)

    def answers(self) -> list[Scrape]:
        """Give the answers, read."""
        return [Scrape(asked, answered, counted(said.decode())) for asked, answered, said in self._answers]


def counted(said: str) -> dict[str, int]:
    """Read from the lines of the counters how many events of each topic were processed or rejected."""
    found: dict[str, int] = {}
    for family in text_string_to_metric_families(said + "\n"):
        for sample in family.samples:
            if sample.name in {f"{name}_total" for name in _COUNTERS}:
                topic = sample.labels["topic"]
                found[topic] = found.get(topic, 0) + int(sample.value)
    return found
