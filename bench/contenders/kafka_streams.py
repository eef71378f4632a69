"""Kafka Streams, at least once and exactly once: the same work in Java, as its documentation has it.

The DSL brings quotes and deals to the partition of their lead; a processor with two persistent stores merges them and adds
up what changes, by partition, as Faust's tables do. Set are: two threads, where salesfx has one worker; caching, with
64 MiB before the stores, so that of a cell's values in one interval only the last is written; 4000 records a poll, as the
peers in Python have; a heap of 2 GiB. All else is at its default: RocksDB on disk, changelogs in Kafka, idempotent
producers, a commit every 100 ms with exactly once and every 30 s with at least once. The clock runs from the moment that
both threads have their share, and stops in both guarantees when the last events are committed; at least once commits
these on demand.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from bench.contenders.contender import Place, Running
from bench.contenders.reporting import ReportingProcess
from salesfx.local.jars import KAFKA_VERSION, JarSet, cache_folder, classpath, kafka_classpath, read_pins
from salesfx.local.java import find_java

_SOURCES = Path(__file__).with_name("kafka_streams")
_OLDEST = "17"
"""Java: what is compiled runs on whatever the broker runs on."""
_THREADS = 2


class _KafkaStreams:
    """What both guarantees have in common."""

    version = KAFKA_VERSION
    share = 1.0
    may_count_twice = False
    guarantee: str

    def prepare(self, progress: Callable[[str], None]) -> None:
        """Fetch the jars and compile, once for each state of the sources."""
        if _classes().exists():
            return
        compiler = shutil.which("javac")
        if compiler is None:
            raise SystemExit(
                f"Kafka Streams needs a JDK of version {_OLDEST} or newer, as its contender is compiled here, and there is "
                "no javac on the PATH. Install one (openjdk-17-jdk-headless on Debian), or name others with --only."
            )
        progress("compiling the contender for Kafka Streams")
        _classes().parent.mkdir(parents=True, exist_ok=True)
        # Beside the final place: moved there only when it is whole.
        with tempfile.TemporaryDirectory(dir=_classes().parent) as folder:
            made = Path(folder, "classes")
            command = [compiler, "--release", _OLDEST, "-Xlint:all", "-cp", _jars(progress), "-d", str(made)]
            done = subprocess.run([*command, *map(str, _java_files())], capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"The contender for Kafka Streams could not be compiled:\n{done.stderr.strip()}")
            made.rename(_classes())

    @contextmanager
    def run(self, place: Place) -> Iterator[Running]:
        """Start it."""
        java = [str(find_java()), "-Xmx2g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        program = ["-cp", os.pathsep.join([str(_classes()), _jars()]), "SalesTables"]
        names = [place.topics[topic] for topic in ("lead_created", "quote_sent", "deal_closed")]
        settings = [place.kafka, f"{self.guarantee}-{place.run}", self.guarantee, str(_THREADS)]
        arguments = [*settings, str(place.partitions), str(place.events), str(place.folder), *names]
        with ReportingProcess([*java, *program, *arguments], folder=place.folder) as running:
            yield running


class AtLeastOnce(_KafkaStreams):
    """`processing.guarantee=at_least_once`, its default."""

    name = "Kafka Streams, at least once"
    guarantee = "at_least_once"
    leaves_out = (
        "Accounts and categories from their history, planned sales, salespeople, days and hours, entities that move to "
        "another lead, dead letters, tables that are one instant of all partitions; a crash may count events twice."
    )


class ExactlyOnce(_KafkaStreams):
    """`processing.guarantee=exactly_once_v2`."""

    name = "Kafka Streams, exactly once"
    guarantee = "exactly_once_v2"
    leaves_out = (
        "Accounts and categories from their history, planned sales, salespeople, days and hours, entities that move to "
        "another lead, dead letters, tables that are one instant of all partitions."
    )


def _java_files() -> list[Path]:
    return sorted(_SOURCES.glob("*.java"))


@cache
def _classes() -> Path:
    """Name the folder of what these very sources compile to."""
    pins = (_SOURCES / "jars.txt").read_bytes()
    state = hashlib.sha256(b"\0".join([KAFKA_VERSION.encode(), pins, *(file.read_bytes() for file in _java_files())]))
    return cache_folder() / "bench" / f"kafka-streams-{state.hexdigest()[:16]}"


def _jars(progress: Callable[[str], None] = lambda _line: None) -> str:
    """Give the class path: the broker's jars have all that Kafka Streams needs but itself and RocksDB."""
    pins = read_pins((_SOURCES / "jars.txt").read_text(encoding="utf-8"))
    return os.pathsep.join(
        [classpath(JarSet("Kafka Streams", KAFKA_VERSION, pins), progress), kafka_classpath(progress)]
    )
