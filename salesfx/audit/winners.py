"""The winning version of every entity in a log, on disk: a million leads need little memory.

Entities that have nothing to do with each other can be computed apart. What belongs together hangs together through a lead
or a named account, so the leads and accounts are put into groups, and groups are given out some at a time.
"""

import os
import sqlite3
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from salesfx.audit.recomputation import Event, from_canonical
from salesfx.audit.recomputation.world import named_home_of
from salesfx.audit.versions import Version, digest
from salesfx.scratch import temporary_folder

FULL = 10_000
"""Quotes and deals under one lead or account beyond which some are refused."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOGETHER = 5_000
"""Entities that are computed together, where they do not hang together with more."""
_SCHEMA = """
CREATE TABLE winners (
    topic TEXT, id TEXT, revision INTEGER, recorded_at INTEGER, event_id TEXT, canonical BLOB, retracted INTEGER,
    home TEXT, account TEXT, hundredths INTEGER, by_rate INTEGER, partition INTEGER, offset INTEGER,
    PRIMARY KEY (topic, id)
) WITHOUT ROWID;
CREATE TABLE standings (
    topic TEXT, id TEXT, revision INTEGER, recorded_at INTEGER, event_id TEXT, retracted INTEGER,
    partition INTEGER, offset INTEGER, content BLOB,
    PRIMARY KEY (topic, id)
) WITHOUT ROWID;
CREATE TABLE leads_of_quotes (id TEXT, lead_id TEXT, PRIMARY KEY (id, lead_id)) WITHOUT ROWID;
CREATE TABLE nodes (number INTEGER PRIMARY KEY, name TEXT UNIQUE, root INTEGER);
"""
_MERGE = """
INSERT INTO winners VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (topic, id) DO UPDATE SET
    revision = excluded.revision, recorded_at = excluded.recorded_at, event_id = excluded.event_id,
    canonical = excluded.canonical, retracted = excluded.retracted, home = excluded.home, account = excluded.account,
    hundredths = excluded.hundredths, by_rate = excluded.by_rate, partition = excluded.partition, offset = excluded.offset
WHERE (excluded.revision, excluded.recorded_at, excluded.event_id, excluded.canonical, -excluded.partition, -excluded.offset)
    > (revision, recorded_at, event_id, canonical, -partition, -offset)
"""
_SAME_VERSION = (
    "(winners.revision, winners.recorded_at, winners.event_id, winners.retracted) IS "
    "(standings.revision, standings.recorded_at, standings.event_id, standings.retracted)"
)
_SAME_CONTENT = "coalesce(standings.content = digest(canonical, hundredths), TRUE)"
_SAME_PLACE = "(winners.partition, winners.offset) IS (standings.partition, standings.offset)"


class Mismatch(NamedTuple):
    """An entity of which the log and the records have not the same."""

    topic: str
    id: str
    in_log: str | None
    """The event_id of the log's; None where the log has none."""
    partition: int | None
    offset: int | None
    by_rate: bool
    root: int | None
    in_records: str | None
    """The event_id of the records'; None where they have none."""
    same_version: bool = False
    """Whether both have one version, which orders versions but for ties; then its content or its place differ."""
    same_content: bool = False
    """True too where the content in the records is not known."""
    partition_in_records: int | None = None
    offset_in_records: int | None = None


class Winners:
    """A database in a file that has no name, so that nothing is left of it, however the process ends."""

    def __init__(self) -> None:
        """Make an empty one; raises, as everything does, sqlite3.OperationalError where the folder cannot be used."""
        try:
            handle, file = tempfile.mkstemp(prefix="salesfx-audit-", suffix=".sqlite", dir=temporary_folder())
        except OSError as error:
            raise sqlite3.OperationalError(error.strerror) from error
        os.close(handle)
        try:
            self._database = sqlite3.connect(file, isolation_level=None)
        finally:
            Path(file).unlink()
        self._database.create_function("digest", 2, digest, deterministic=True)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-65536"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def add_standings(self, versions: Iterable[Version]) -> None:
        """Note what the records have; of each entity the first version counts that comes."""
        self._put("INSERT OR IGNORE INTO standings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", versions)

    def forget_standings(self) -> None:
        """Forget what the records have, to read them again."""
        self._database.execute("DELETE FROM standings")

    def merge(self, events: Iterable[tuple[Event, int, int]]) -> None:
        """Note events with their partition and offset; of each entity the greatest version is kept."""
        events = list(events)
        self._put(_MERGE, [_row(event, partition, offset) for event, partition, offset in events])
        named = {(event.id, event.lead_id) for event, _, _ in events if event.topic == "quote_sent" and event.lead_id}
        self._put("INSERT OR IGNORE INTO leads_of_quotes VALUES (?, ?)", named)

    def group(self) -> None:
        """Find what hangs together; to be called once, after the last event and before anything is asked."""
        execute = self._database.execute
        execute(
            "INSERT INTO nodes (name) SELECT home FROM winners WHERE home IS NOT NULL "
            "UNION SELECT account FROM winners WHERE account IS NOT NULL"
        )
        nodes = execute("SELECT count(*) FROM nodes").fetchone()[0]
        parents = array("q", range(nodes + 1))

        def root(number: int) -> int:
            while parents[number] != number:
                parents[number] = number = parents[parents[number]]
            return number

        edges = execute(
            "SELECT one.number, other.number FROM winners JOIN nodes AS one ON one.name = home "
            "JOIN nodes AS other ON other.name = account"
        )
        for one, other in edges:
            parents[root(one)] = root(other)
        self._put("UPDATE nodes SET root = ? WHERE number = ?", ((root(n), n) for n in range(1, nodes + 1)))

    def groups(self) -> Iterator[list[Event]]:
        """Give the entities that stand, in lists of whole groups."""
        rows = self._database.execute(
            "SELECT root, topic, canonical, hundredths FROM winners JOIN nodes ON name = home ORDER BY root"
        )
        together: list[Event] = []
        for _, group in groupby(rows, key=lambda row: row[0]):
            together.extend(from_canonical(topic, canonical, hundredths) for _, topic, canonical, hundredths in group)
            if len(together) >= _TOGETHER:
                yield together
                together = []
        yield together

    def mismatches(self) -> Iterator[Mismatch]:
        """Give the entities of which the records have not what the log has, or only one of both has any."""
        of_log = (
            "SELECT topic, id, winners.event_id, winners.partition, winners.offset, by_rate, root, standings.event_id, "  # noqa: S608 - constants
            f"{_SAME_VERSION}, {_SAME_CONTENT}, standings.partition, standings.offset "
            "FROM winners LEFT JOIN standings USING (topic, id) LEFT JOIN nodes ON name = home "
            f"WHERE NOT ({_SAME_VERSION} AND {_SAME_CONTENT} AND {_SAME_PLACE}) ORDER BY topic, id"
        )
        for row in self._database.execute(of_log):
            yield Mismatch(*row)
        of_records = (
            "SELECT topic, id, standings.event_id FROM standings LEFT JOIN winners USING (topic, id) "
            "WHERE winners.event_id IS NULL ORDER BY topic, id"
        )
        for topic, entity, event_id in self._database.execute(of_records):
            yield Mismatch(topic, entity, None, None, None, False, None, event_id)

    def full_groups(self) -> set[int]:
        """Name the groups in which a lead or account may be full."""
        rows = self._database.execute(
            "SELECT root FROM winners JOIN nodes ON name = home GROUP BY root HAVING count(*) > ?", (FULL,)
        )
        return {root for (root,) in rows}

    def quotes_of_several_leads(self) -> Iterator[tuple[str, list[str]]]:
        """Give the quotes of which there are versions that name different leads."""
        rows = self._database.execute(
            "SELECT id, lead_id FROM leads_of_quotes WHERE id IN "
            "(SELECT id FROM leads_of_quotes GROUP BY id HAVING count(*) > 1) ORDER BY id, lead_id"
        )
        for quote, group in groupby(rows, key=lambda row: row[0]):
            yield quote, [lead for _, lead in group]

    def _put(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._database.execute("BEGIN")
        self._database.executemany(statement, rows)
        self._database.execute("COMMIT")


def _row(event: Event, partition: int, offset: int) -> tuple[object, ...]:
    return (
        event.topic,
        event.id,
        event.revision,
        (event.recorded_at - _EPOCH) // timedelta(microseconds=1),
        event.event_id,
        event.canonical,
        event.retracted,
        None if event.retracted else named_home_of(event),
        None if event.account_id is None else f"account:{event.account_id}",
        event.hundredths,
        event.by_rate,
        partition,
        offset,
    )
