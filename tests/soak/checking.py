"""The verdict: what the tables hold against what follows from the log, computed independently."""

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from salesfx.audit.recomputation import Event, RefusedError, World, cells_of, read_event
from salesfx.audit.recomputation.event import version
from salesfx.definitions import Definitions
from salesfx.events import TOPICS
from salesfx.kpi import Cells
from salesfx.tables.layout import partition_field, to_cells
from tests.soak.publishing import GROUP, REASON
from tests.soak.watching import Sample, inconsistencies
from tests.worker_process import Site

_SHOWN = 20
_READ_MS = 2000


@dataclass
class Part:
    """Those events of one group that lie in one partition."""

    offsets: list[int] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


@dataclass
class Log:
    """The whole log, each event parsed once."""

    ends: dict[str, int]
    groups: dict[str, dict[str, Part]]
    """Usable events, by group and partition; entities of different groups have nothing to do with each other."""
    refused: dict[str, list[tuple[int, str]]]
    """Offsets of the unusable events and the reasons, by partition."""
    defects: list[str]
    """What makes the log itself no basis for a verdict."""
    _whole: dict[str, Cells] = field(default_factory=dict)
    """Of groups that a prefix holds whole, the cells."""

    def cells(self, offsets: Mapping[str, int]) -> Cells:
        """Compute the tables of the events before these offsets."""
        total: Cells = {}
        for group, parts in self.groups.items():
            for cell, number in self._cells_of(group, parts, offsets).items():
                total[cell] = total.get(cell, 0) + number
        return total

    def _cells_of(self, group: str, parts: Mapping[str, Part], offsets: Mapping[str, int]) -> Cells:
        taken = [bisect_left(part.offsets, offsets.get(name, 0)) for name, part in parts.items()]
        events = (event for part, number in zip(parts.values(), taken, strict=True) for event in part.events[:number])
        if taken != [len(part.events) for part in parts.values()]:
            return tables_of(events)
        if group not in self._whole:
            self._whole[group] = tables_of(events)
        return self._whole[group]

    def counters(self, offsets: Mapping[str, int]) -> Counter[str]:
        """Count the events before these offsets as the workers do."""
        counted: Counter[str] = Counter()
        for name, offset in offsets.items():
            topic = name.rpartition(":")[0]
            refused = self.refused[name][: bisect_left(self.refused[name], (offset, ""))]
            counted[f"processed|{topic}"] += offset - len(refused)
            counted.update(f"rejected|{topic}|{reason}" for _, reason in refused)
        return +counted


def tables_of(events: Iterable[Event]) -> Cells:
    """Compute the tables of usable events."""
    winners: dict[tuple[str, str], Event] = {}
    for event in events:
        key = event.topic, event.id
        if key not in winners or version(event) > version(winners[key]):
            winners[key] = event
    return cells_of(World.of((event for event in winners.values() if not event.retracted), Definitions()))


async def read_log(site: Site, say: Callable[[str], None]) -> Log:
    """Read everything that Kafka holds, committed, from the beginning."""
    ends = await site.ends()
    log = Log(ends, defaultdict(lambda: defaultdict(Part)), defaultdict(list), [])
    names = {site.topic(topic): topic for topic in TOPICS}
    group_of_id: dict[tuple[str, str], str] = {}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=site.settings.kafka, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(site.topic(topic), int(n)) for topic, _, n in (e.rpartition(":") for e in ends)]
        consumer.assign(partitions)
        next_offsets = dict.fromkeys(ends, 0)
        said = time.monotonic()
        while next_offsets != ends:
            for at, records in (await consumer.getmany(timeout_ms=_READ_MS, max_records=5000)).items():
                name = partition_field(names[at.topic], at.partition)
                for record in records:
                    if record.offset != next_offsets[name]:
                        log.defects.append(f"{name} has no event at {next_offsets[name]}")
                    _take(log, names[at.topic], name, record, group_of_id)
                    next_offsets[name] = record.offset + 1
            if time.monotonic() - said > 10:
                said = time.monotonic()
                say(f"reading the log: {sum(next_offsets.values()):,} of {sum(ends.values()):,} events")
    finally:
        await consumer.stop()
    return log


def _take(log: Log, topic: str, name: str, record: object, group_of_id: dict[tuple[str, str], str]) -> None:
    headers = dict(record.headers)  # type: ignore[attr-defined]  # aiokafka has no types
    value, offset = record.value, record.offset  # type: ignore[attr-defined]
    group, reason = headers[GROUP].decode(), headers.get(REASON, b"").decode()
    try:
        event = read_event(topic, value or b"", Definitions())
    except RefusedError:
        if not reason:
            log.defects.append(f"{name} {offset} is refused by the reference, and was not meant to be")
        log.refused[name].append((offset, reason))
        return
    if reason:
        log.defects.append(f"{name} {offset} is taken by the reference, and was meant to be refused: {reason}")
    for kind, one in _ids(event):
        if group_of_id.setdefault((kind, one), group) != group:
            log.defects.append(f"{kind} {one} is in the groups {group} and {group_of_id[kind, one]}")
    part = log.groups[group][name]
    part.offsets.append(offset)
    part.events.append(event)


def _ids(event: Event) -> list[tuple[str, str]]:
    own = event.topic.partition("_")[0]
    ids = [(own, event.id), ("lead", event.lead_id), ("quote", event.quote_id), ("account", event.account_id)]
    return [(kind, one) for kind, one in ids if one is not None]


def differences(sample: Sample, log: Log) -> list[str]:
    """Compare a snapshot with the tables and counters of its own prefix of each partition, cell by cell."""
    found = inconsistencies(sample)
    found += [
        f"{name}: offset {at} beyond the end {log.ends[name]}"
        for name, at in sample.offsets.items()
        if at > log.ends[name]
    ]
    expected = log.cells(sample.offsets)
    cells = to_cells(sample.tables.items())
    if cells != expected:
        found += [
            f"{cell[0]} {cell[1]}: {cells.get(cell, 0)}, should be {expected.get(cell, 0)}"
            for cell in sorted(cells.keys() | expected.keys())
            if cells.get(cell) != expected.get(cell)
        ]
    counted = log.counters(sample.offsets)
    theirs = {n: v for n, v in sample.counters.items() if n.startswith(("processed|", "rejected|")) and v}
    found += [
        f"counter {name}: {theirs.get(name, 0)}, should be {counted[name]}"
        for name in sorted(theirs.keys() | counted.keys())
        if theirs.get(name, 0) != counted[name]
    ]
    return found


def check_samples(
    folder: Path, log: Log, seconds: float, least: int, say: Callable[[str], None]
) -> tuple[int, list[str]]:
    """Check samples exactly, evenly over the run, as many as the time allows, but some at least.

    Returns:
        How many were checked, and what is wrong.

    """
    files = _spread(sorted(folder.glob("sample-*")))
    started = said = time.monotonic()
    wrong: list[str] = []
    for number, file in enumerate(files):
        if number >= least and time.monotonic() - started > seconds:
            return number, wrong
        sample = Sample.read(file)
        found = differences(sample, log)
        if found:
            wrong.append(f"{file.name} ({len(found)} differences): " + "; ".join(found[:_SHOWN]))
            say(f"DEFECT {wrong[-1]}")
        if time.monotonic() - said > 10:
            said = time.monotonic()
            say(f"checking snapshots exactly: {number + 1} of {len(files)}")
    return len(files), wrong


def _spread(files: list[Path]) -> list[Path]:
    """Order files so that every beginning of the list is spread evenly over it."""
    chosen: list[Path] = []
    step = 1
    while step < len(files):
        step *= 2
    seen: set[int] = set()
    while step:
        for index in range(0, len(files), step):
            if index not in seen:
                seen.add(index)
                chosen.append(files[index])
        step //= 2
    return chosen


async def wrong_letters(site: Site, log: Log) -> list[str]:
    """Compare the dead-letter topic with the unusable events: each is there, nothing else is, with its reason."""
    wanted = {
        f"{site.topic(topic)}-{partition}-{offset}": reason
        for name, refused in log.refused.items()
        for topic, _, partition in (name.rpartition(":"),)
        for offset, reason in refused
    }
    found: dict[str, set[str]] = defaultdict(set)
    for letter in await site.dead_letters():
        found[letter.key.decode()].add(dict(letter.headers)["reason"].decode())
    wrong = [f"no dead letter for {origin} ({wanted[origin]})" for origin in wanted.keys() - found.keys()]
    wrong += [f"unexplained dead letter for {origin}: {found[origin]}" for origin in found.keys() - wanted.keys()]
    wrong += [
        f"dead letter for {origin}: {found[origin]}, should be {wanted[origin]}"
        for origin in found.keys() & wanted.keys()
        if found[origin] != {wanted[origin]}
    ]
    return sorted(wrong)
