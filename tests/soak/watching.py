"""A process of readers that take snapshots all the time, check each, and keep some to be checked exactly.

Usage: SOAK_REDIS=URL python -m tests.soak.watching NAMESPACE FOLDER SNAPSHOTS_PER_SECOND SECONDS_BETWEEN_SAMPLES
"""

import asyncio
import json
import os
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import msgspec
import redis

from salesfx.tables import RedisTables, Snapshot, connect
from salesfx.tables.layout import DAYS, HOURS, MONTH

READERS = 2
_SAY_SECONDS = 5.0
_END_SECONDS = 60.0
_ALL = (MONTH, DAYS, HOURS)
Sums = defaultdict[tuple[str, ...], int]


class Sample(msgspec.Struct):
    """A snapshot that is kept."""

    at: float
    """Seconds since 1970."""
    offsets: dict[str, int]
    counters: dict[str, int]
    tables: dict[str, dict[str, int]]

    @classmethod
    def of(cls, snapshot: Snapshot) -> "Sample":
        """Take what is checked of a snapshot."""
        tables = {name: dict(table) for name, table in snapshot.tables.items()}
        return cls(time.time(), dict(snapshot.offsets), dict(snapshot.counters), tables)

    def write(self, file: Path) -> None:
        """Keep it in a file."""
        file.write_bytes(zlib.compress(msgspec.msgpack.encode(self), 1))

    @classmethod
    def read(cls, file: Path) -> "Sample":
        """Read it back."""
        return msgspec.msgpack.decode(zlib.decompress(file.read_bytes()), type=cls)


async def snapshot_of_all(store: RedisTables) -> Snapshot | None:
    """Read every table of every month at one instant; None where there are none."""
    names: list[str] = []
    while True:
        snapshot = await store.snapshot(names)
        if snapshot is None:
            return None
        wanted = [kind + month for month in snapshot.months for kind in _ALL]
        if set(wanted) <= set(names):
            return snapshot
        names = wanted


def inconsistencies(sample: Sample) -> list[str]:
    """Say what in a snapshot contradicts itself; it needs no knowledge of the events."""
    found = [
        f"{name} {field}: {number}"
        for name, table in sample.tables.items()
        for field, number in table.items()
        if number <= 0
    ]
    for name, table in sample.tables.items():
        if name.startswith(MONTH):
            month = name.removeprefix(MONTH)
            days = sample.tables.get(DAYS + month, {})
            found += _different(
                f"{month}, days against the month", _summed(days, 1), {(f,): n for f, n in table.items()}
            )
            found += _different_breakdowns(month, table)
            by_day: Sums = defaultdict(int)
            by_day.update({(f[:2], f[3:]): n for f, n in days.items() if f[3:].startswith("leads|source=")})
            by_hour: Sums = defaultdict(int)
            for field, number in sample.tables.get(HOURS + month, {}).items():
                by_hour[field[:2], field.split("|", 1)[1]] += number
            found += _different(f"{month}, hours against days", by_hour, by_day)
    return found + _wrong_counters(sample)


def _summed(table: Mapping[str, int], cut: int) -> Sums:
    sums: Sums = defaultdict(int)
    for field, number in table.items():
        sums[field.split("|", cut)[cut],] += number
    return sums


def _different_breakdowns(month: str, table: Mapping[str, int]) -> list[str]:
    """Compare what is broken down in two ways: each adds up to the same."""
    first: Sums = defaultdict(int)
    second: Sums = defaultdict(int)
    for field, number in table.items():
        metric, dimension = field.split("|", 1)
        name, value = dimension.split("=", 1)
        if name == "category":
            category, comma, _ = value.partition(",salesperson=")
            (second if comma else first)[metric, category] += number
        else:
            (first if name == "source" else second)[metric,] += number
    return _different(f"{month}, one breakdown against the other", first, second)


def _wrong_counters(sample: Sample) -> list[str]:
    """Compare the counters with the offsets: every event is counted once."""
    counted: Sums = defaultdict(int)
    for name, number in sample.counters.items():
        what, _, rest = name.partition("|")
        if what in {"processed", "rejected"}:
            counted[rest.split("|")[0],] += number
    by_offset: Sums = defaultdict(int)
    for field, offset in sample.offsets.items():
        by_offset[field.rpartition(":")[0],] += offset
    return _different("counters against offsets", counted, by_offset)


def _different(what: str, one: Mapping[tuple[str, ...], int], other: Mapping[tuple[str, ...], int]) -> list[str]:
    return [
        f"{what}: {'|'.join(name)}: {one.get(name, 0)} against {other.get(name, 0)}"
        for name in one.keys() | other.keys()
        if one.get(name, 0) != other.get(name, 0)
    ]


class Watcher:
    """Reads until its standard input ends; says on its standard output how many snapshots it took, and what is wrong."""

    def __init__(self, url: str, namespace: str, folder: Path, per_second: float, between_samples: float) -> None:
        self._url = url
        self._namespace = namespace
        self._folder = folder
        self._pause = READERS / per_second
        self._between_samples = between_samples
        self._next_sample = 0.0
        self._ending = False
        self._taken = self._none = self._samples = 0

    async def run(self) -> None:
        """Read."""
        readers = [asyncio.create_task(self._read()) for _ in range(READERS)]
        ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        while not ended.done():
            await asyncio.wait([ended, *readers], timeout=_SAY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            self._say()
            for reader in readers:
                if reader.done():
                    reader.result()

        self._ending = True  # a client that is cancelled in the midst of a timeout may swallow it
        _, hung = await asyncio.wait(readers, timeout=_END_SECONDS)
        self._say(**({"wrong": [f"{len(hung)} readers got no answer for {_END_SECONDS:.0f} s"]} if hung else {}))
        sys.stdout.flush()
        os._exit(0)  # a reader that hangs would hang the end, too

    def _say(self, **more: object) -> None:
        numbers = {"snapshots": self._taken, "unanswered": self._none, "samples": self._samples}
        print(json.dumps(numbers | more), flush=True)  # noqa: T201 - what this process is for

    async def _read(self) -> None:
        store = RedisTables(connect(self._url, timeout=5), self._namespace)
        while not self._ending:
            started = time.monotonic()
            try:
                snapshot = await snapshot_of_all(store)
            except (redis.RedisError, OSError):
                snapshot = None
            if snapshot is None:
                self._none += 1
            else:
                self._check(Sample.of(snapshot))
            await asyncio.sleep(max(0.05, self._pause - (time.monotonic() - started)))

    def _check(self, sample: Sample) -> None:
        self._taken += 1
        wrong = inconsistencies(sample)
        if wrong:
            file = self._folder / f"inconsistent-{self._taken:07d}"
            sample.write(file)
            self._say(wrong=wrong[:20], file=file.name)
        if time.monotonic() >= self._next_sample:
            self._next_sample = max(self._next_sample + self._between_samples, time.monotonic())
            sample.write(self._folder / f"sample-{self._samples:05d}")
            self._samples += 1


if __name__ == "__main__":
    _, its_namespace, its_folder, rate, apart = sys.argv
    asyncio.run(Watcher(os.environ["SOAK_REDIS"], its_namespace, Path(its_folder), float(rate), float(apart)).run())
