"""The floor: aiokafka and msgspec decode every event, and nothing else is done. No Python program can be faster than that."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.contenders.contender import Place, Running
from bench.contenders.reporting import ReportingProcess


class Floor:
    """Decodes into the types that `salesfx.events` declares: instants are datetimes, amounts decimals."""

    name = "decode only"
    leaves_out = "Everything but reading and decoding."
    share = 1.0
    may_count_twice = False

    def prepare(self, progress: Callable[[str], None]) -> None:
        """Nothing to prepare."""

    @contextmanager
    def run(self, place: Place) -> Iterator[Running]:
        """Start it."""
        topics = [f"{topic}={name}" for topic, name in place.topics.items()]
        program = [sys.executable, "-m", "bench.contenders.floor_process"]
        with ReportingProcess([*program, place.kafka, str(place.partitions), *topics], folder=place.folder) as running:
            yield running
