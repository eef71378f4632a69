"""What every store of the tables must do: one suite over the tables in memory, in Valkey and in Redis 7."""

import asyncio
import random
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.client import Pipeline
from redis.exceptions import ResponseError, WatchError

from salesfx.decoder import decode
from salesfx.definitions import Definitions, Rate
from salesfx.fold import Fold
from salesfx.heartbeat import FORGOTTEN_SECONDS, MOST_FEEDS, WORKER
from salesfx.kpi import CATALOGUE, Cells
from salesfx.lead import (
    ACCOUNT,
    DEAL,
    DEAL_STAND_IN,
    LEAD,
    QUOTE,
    QUOTE_STAND_IN,
    DealFacts,
    QuoteFacts,
    Standing,
)
from salesfx.rules import Rules
from salesfx.tables import MemoryTables, RedisTables, Tables, connect
from salesfx.tables.feed_marks import heartbeats_in
from salesfx.tables.generations import DroppedError, GenerationError, Generations
from salesfx.tables.layout import (
    DAYS,
    FIRST_GENERATION,
    HOURS,
    LOG_START,
    MONTH,
    VERSION_BYTES,
    Layout,
    by_table,
    current_key,
    generations_key,
)
from salesfx.tables.store import (
    Commit,
    Committed,
    Conflict,
    DefinitionsChangedError,
    Elsewhere,
    OtherDefinitions,
    Range,
    Snapshot,
    StoreUnfitError,
    TablesDamagedError,
    TablesGoneError,
)
from tests.losing_proxy import LosingProxy
from tests.stores import (
    DEFINITIONS,
    TOPIC,
    OpenRedisStore,
    RedisStore,
    Store,
    all_cells,
    batch,
    contents,
    put,
    shown,
    versions,
)
from tests.worked_example import EVENTS, TABLES

DOLLARS = Definitions(rates=(Rate(currency="USD", since=date(2026, 1, 1), per_euro=Decimal("1.1")),))
CELL = ("2026-10-05", "leads|source=web")
HUGE = 123456789012345678
"""Beyond 2^53: a binary float cannot hold it."""
MANY = 8500
"""More than Lua can unpack at once."""
ODD = (
    "with space",
    " ",
    "клиент-№1",
    "a|b=c,d",
    "{x}:1:meta",
    "tab\tand\x7f",
    "\u202eleft",
    "😀",
    "'\"\\",
    "*?[a]",
    "e\u0301",
    "\u00e9",
    "x" * 200,
)


# Opening.


async def test_nothing_is_there_before_the_first_opening(store: Store) -> None:
    """A snapshot of a store without tables is None, it has no offsets, and a commit finds none."""
    assert await store.tables.snapshot(["month:2026-10"]) is None
    assert await store.tables.offsets() == {}
    assert await store.tables.load(["lead:L1"]) == {"lead:L1": None}
    assert await store.tables.load([]) == {}
    assert await store.tables.commit(batch(0, 1, cells={CELL: 1})) == Elsewhere(None)
    assert await store.tables.snapshot() is None


async def test_opening_creates_empty_tables(store: Store) -> None:
    """The definitions are kept beside tables that hold nothing yet."""
    await store.tables.open(DEFINITIONS)
    assert await store.tables.snapshot(["month:2026-10"]) == Snapshot(
        generation=FIRST_GENERATION,
        fingerprint=DEFINITIONS.fingerprint,
        definitions=DEFINITIONS.canonical(),
        months=[],
        tables={"month:2026-10": {}},
        offsets={},
        counters={},
        marks={},
    )


async def test_opening_again_keeps_what_is_there(store: Store, tables: Tables) -> None:
    """A second client under the same definitions finds the tables as they are, and may commit."""
    assert await tables.commit(batch(0, 1, cells={CELL: 1})) == Committed()
    other = store.client()
    await other.open(Definitions())
    assert await all_cells(other) == {CELL: 1}
    assert await other.commit(batch(1, 2, cells={CELL: 1})) == Committed()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (Definitions(recipient_limit=11), "recipient_limit: the tables were made with 10, now it is 11"),
        (Definitions(timezone="UTC"), 'timezone: the tables were made with "Europe/Sofia", now it is "UTC"'),
        (Definitions(source_aliases={"www": "web"}), "source_aliases"),
    ],
)
async def test_changed_definitions_are_refused(store: Store, tables: Tables, changed: Definitions, named: str) -> None:
    """The error says what changed and what to do; the tables stay under theirs, and their client can go on."""
    other = store.client()
    with pytest.raises(DefinitionsChangedError) as error:
        await other.open(changed)
    assert named in str(error.value)
    assert "`salesfx rebuild`" in str(error.value)
    assert "coverage_days" not in str(error.value)
    assert (await shown(tables)).fingerprint == DEFINITIONS.fingerprint
    assert await other.commit(batch(0, 1)) == OtherDefinitions(DEFINITIONS.fingerprint)
    assert await tables.commit(batch(0, 1)) == Committed()


async def test_a_rate_for_another_currency_is_taken_over(store: Store, tables: Tables) -> None:
    """Who adds only a rate may go on; clients without it can neither commit nor open any more."""
    other = store.client()
    await other.open(DOLLARS)
    snapshot = await shown(tables)
    assert (snapshot.fingerprint, snapshot.definitions) == (DOLLARS.fingerprint, DOLLARS.canonical())
    assert await tables.commit(batch(0, 1, cells={CELL: 1})) == OtherDefinitions(DOLLARS.fingerprint)
    assert await all_cells(tables) == {}
    assert await other.commit(batch(0, 1, cells={CELL: 1})) == Committed()
    with pytest.raises(DefinitionsChangedError, match=r"rates: the tables were made with .*USD"):
        await store.client().open(DEFINITIONS)


async def test_of_many_who_open_at_once_one_decides(store: Store) -> None:
    """Under two definitions, all under the one succeed and all under the other are told so."""
    ours, theirs = Definitions(recipient_limit=11), Definitions(recipient_limit=12)
    clients = [store.client() for _ in range(12)]
    outcomes = await asyncio.gather(
        *(client.open((ours, theirs)[number % 2]) for number, client in enumerate(clients)), return_exceptions=True
    )
    won = (await shown(clients[0])).fingerprint == theirs.fingerprint
    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, DefinitionsChangedError) if number % 2 != won else outcome is None


# Offsets and the identity of the log.


async def test_the_first_start_of_a_partition_stands(store: Store, tables: Tables) -> None:
    """Whoever comes later gets the offset that is stored, however often they ask, and never moves it."""
    assert await tables.start_at(TOPIC, 1, 7) == 7
    assert await store.client().start_at(TOPIC, 1, 0) == 7
    assert await tables.commit(batch(7, 9, partition=1)) == Committed()
    assert await tables.start_at(TOPIC, 1, 0) == 9
    assert await tables.start_at("quote_sent", 1, 3) == 3
    assert await tables.offsets() == {"lead_created:0": 0, "lead_created:1": 9, "quote_sent:1": 3}


async def test_no_offset_is_stored_where_the_tables_are_gone(store: Store, tables: Tables) -> None:
    """Between a worker's opening and its first offset Redis may be emptied: an offset alone would pass for damage."""
    await store.lose()
    with pytest.raises(TablesGoneError):
        await tables.start_at(TOPIC, 1, 7)
    assert await tables.offsets() == {}
    await tables.open(DEFINITIONS)
    assert await tables.start_at(TOPIC, 1, 7) == 7


async def test_a_first_offset_is_stored_with_the_tables_or_not_at_all(
    in_redis: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where Redis is emptied in the midst of it."""
    await in_redis.tables.open(DEFINITIONS)
    exists = Pipeline.exists

    async def and_then_all_is_gone(pipe: Any, *keys: str) -> Any:
        found = await exists(pipe, *keys)
        await in_redis.lose()
        return found

    monkeypatch.setattr(Pipeline, "exists", and_then_all_is_gone)
    with pytest.raises(WatchError):
        await in_redis.tables.start_at(TOPIC, 1, 7)
    assert await in_redis.dump() == {}


async def test_tables_that_another_makes_meanwhile_are_no_damage(
    in_redis: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two open an empty Redis; the one who comes second finds an offset of the first."""
    exists = Pipeline.exists
    others = [in_redis.client()]

    async def after_another(pipe: Any, *keys: str) -> Any:
        if others:
            other = others.pop()
            await other.open(DEFINITIONS)
            await other.start_at(TOPIC, 1, 7)
        return await exists(pipe, *keys)

    monkeypatch.setattr(Pipeline, "exists", after_another)
    await in_redis.tables.open(DEFINITIONS)
    assert await in_redis.tables.offsets() == {"lead_created:1": 7}


async def test_the_first_identity_of_the_log_stands(store: Store, tables: Tables) -> None:
    """Ids that are stored are given back, those that are new are added."""
    assert await tables.log_identity({"cluster": "c1", "topic:quote_sent": "t1"}) == {
        "cluster": "c1",
        "topic:quote_sent": "t1",
    }
    assert await store.client().log_identity({"cluster": "c2", "topic:deal_closed": "t2"}) == {
        "cluster": "c1",
        "topic:quote_sent": "t1",
        "topic:deal_closed": "t2",
    }
    assert await tables.log_identity({}) == {"cluster": "c1", "topic:quote_sent": "t1", "topic:deal_closed": "t2"}


# Commits.


async def test_a_commit_is_applied_whole(tables: Tables) -> None:
    """Records, cells, counters, marks and the offset are all there afterwards."""
    cells: Cells = {
        CELL: 2,
        ("2026-10-06", "leads|source=web"): 3,
        ("2026-10-05T09", "leads|source=web"): 2,
        ("2026-11-01", "booked_sales_value|category=returning"): 500,
    }
    answer = await tables.commit(
        batch(
            0,
            5,
            seen={"lead:L1": b"", "account:A1": b""},
            writes={"lead:L1": b"one", "account:A1": b"two"},
            cells=cells,
            counters={"processed": 4},
            marks={"last_event": "2026-10-06T00:00:00Z"},
        )
    )
    assert answer == Committed()
    assert await contents(tables, "lead:L1", "account:A1", "lead:L2") == {
        "lead:L1": b"one",
        "account:A1": b"two",
        "lead:L2": None,
    }
    snapshot = await shown(tables, "month:2026-10", "days:2026-10", "hours:2026-10", "month:2026-11", "hours:2026-11")
    assert snapshot.months == ["2026-10", "2026-11"]
    assert snapshot.tables == {
        "month:2026-10": {"leads|source=web": 5},
        "days:2026-10": {"05|leads|source=web": 2, "06|leads|source=web": 3},
        "hours:2026-10": {"05T09|leads|source=web": 2},
        "month:2026-11": {"booked_sales_value|category=returning": 500},
        "hours:2026-11": {},
    }
    assert snapshot.offsets == {"lead_created:0": 5}
    assert snapshot.counters == {"processed": 4}
    assert snapshot.marks == {"last_event": "2026-10-06T00:00:00Z"}
    assert await all_cells(tables) == cells


async def test_increments_add_up_and_marks_are_replaced(tables: Tables) -> None:
    """Cells and counters are sums, below zero too where that is what was committed; a mark is the last one written."""
    for before, number in enumerate((5, -2, -4)):
        answer = await tables.commit(
            batch(
                before,
                before + 1,
                cells={CELL: number},
                counters={"processed": number, "none": 0},
                marks={"last_commit": str(before)},
            )
        )
        assert answer == Committed()
    snapshot = await shown(tables, "month:2026-10")
    assert snapshot.tables == {"month:2026-10": {"leads|source=web": -1}}
    assert snapshot.counters == {"processed": -1, "none": 0}
    assert snapshot.marks == {"last_commit": "2"}


async def test_a_batch_without_anything_moves_the_offset(tables: Tables) -> None:
    """A range that held no events, only transaction markers, is committed too; so is one that is empty altogether."""
    assert await tables.commit(batch(0, 3)) == Committed()
    assert await tables.offsets() == {"lead_created:0": 3}
    assert await tables.commit(batch(3, 3, counters={"batches": 1})) == Committed()
    snapshot = await shown(tables)
    assert (snapshot.offsets, snapshot.counters, snapshot.months) == ({"lead_created:0": 3}, {"batches": 1}, [])


async def test_a_commit_from_elsewhere_is_told_where_the_tables_are(tables: Tables) -> None:
    """Behind, ahead, or of a partition without an offset: the stored offset is the answer, and nothing is written."""
    assert await tables.commit(batch(0, 10)) == Committed()
    before = await shown(tables, "month:2026-10")
    everything: dict[str, Any] = {
        "seen": {"lead:L1": b""},
        "writes": {"lead:L1": b"x"},
        "cells": {CELL: 1},
        "counters": {"processed": 1},
        "marks": {"last_commit": "now"},
    }
    assert await tables.commit(batch(0, 5, **everything)) == Elsewhere(10)
    assert await tables.commit(batch(9, 11, **everything)) == Elsewhere(10)
    assert await tables.commit(batch(11, 12, **everything)) == Elsewhere(10)
    assert await tables.commit(batch(1, 12, **everything)) == Elsewhere(10)
    assert await tables.commit(batch(10, 11, partition=1, **everything)) == Elsewhere(None)
    assert await shown(tables, "month:2026-10") == before
    assert await tables.load(["lead:L1"]) == {"lead:L1": None}


async def test_batches_of_several_partitions_are_in_by_one_commit(tables: Tables) -> None:
    """Also of several topics; each partition stands at the end of its own batch then."""
    await tables.start_at("quote_sent", 1, 3)
    ranges = [Range(TOPIC, 0, 0, 4), Range("quote_sent", 1, 3, 5)]
    assert await tables.commit(Commit(ranges, cells={CELL: 6})) == Committed()
    assert await tables.offsets() == {f"{TOPIC}:0": 4, "quote_sent:1": 5}
    assert (await all_cells(tables))[CELL] == 6


async def test_one_partition_that_is_elsewhere_keeps_all_of_a_commit_out(tables: Tables) -> None:
    """Whichever it is, and though the others are where they should be: its stored offset is the answer."""
    await tables.start_at(TOPIC, 1, 7)
    right, wrong = Range(TOPIC, 0, 0, 4), Range(TOPIC, 1, 9, 11)
    for ranges in ([right, wrong], [wrong, right]):
        assert await tables.commit(Commit(ranges, cells={CELL: 6})) == Elsewhere(7)
    assert await tables.commit(Commit([right, Range(TOPIC, 2, 0, 1)], cells={CELL: 6})) == Elsewhere(None)
    assert await tables.offsets() == {f"{TOPIC}:0": 0, f"{TOPIC}:1": 7}
    assert await all_cells(tables) == {}


async def test_a_commit_that_is_sent_again_is_not_applied_again(tables: Tables) -> None:
    """A client that lost the answer repeats its commit: the stored offset is the end of its own batch."""
    commit = batch(0, 4, seen={"lead:L1": b""}, writes={"lead:L1": b"x"}, cells={CELL: 1}, counters={"processed": 4})
    assert await tables.commit(commit) == Committed()
    assert await tables.commit(commit) == Elsewhere(4)
    snapshot = await shown(tables, "month:2026-10")
    assert snapshot.tables == {"month:2026-10": {"leads|source=web": 1}}
    assert snapshot.counters == {"processed": 4}


async def test_partitions_have_offsets_of_their_own(tables: Tables) -> None:
    """What one partition commits leaves the others where they are."""
    await tables.start_at(TOPIC, 1, 0)
    assert await tables.commit(batch(0, 2, partition=1)) == Committed()
    assert await tables.commit(batch(0, 9)) == Committed()
    assert await tables.offsets() == {"lead_created:0": 9, "lead_created:1": 2}


async def test_a_conflict_names_all_records_that_changed(tables: Tables) -> None:
    """Changed, removed and newly written ones, of those to be written and of those only read; nothing is written."""
    names = ("lead:kept", "lead:changed", "lead:removed", "account:read")
    assert await put(tables, 0, 1, **dict.fromkeys(names, b"old")) == Committed()
    seen = await versions(tables, *names, "lead:new", "account:none")
    changes = {"lead:changed": b"new", "lead:removed": None, "account:read": b"new", "lead:new": b"new"}
    assert await put(tables, 1, 2, **changes) == Committed()
    before = await shown(tables, "month:2026-10")
    answer = await tables.commit(
        batch(
            2,
            3,
            seen=seen,
            writes={
                "lead:kept": b"x",
                "lead:changed": None,
                "lead:removed": b"x",
                "lead:new": b"x",
                "account:none": b"x",
            },
            cells={CELL: 1},
            counters={"processed": 1},
            marks={"last_commit": "now"},
        )
    )
    assert isinstance(answer, Conflict)
    assert sorted(answer.refs) == ["account:read", "lead:changed", "lead:new", "lead:removed"]
    assert await shown(tables, "month:2026-10") == before
    assert await contents(tables, *seen) == {
        "lead:kept": b"old",
        "lead:changed": b"new",
        "lead:removed": None,
        "account:read": b"new",
        "lead:new": b"new",
        "account:none": None,
    }
    fresh = {**seen, **await versions(tables, *answer.refs)}
    assert await tables.commit(batch(2, 3, seen=fresh, writes={"lead:kept": b"y"})) == Committed()


async def test_a_record_that_is_only_read_is_checked(tables: Tables) -> None:
    """A delta may rest on a record that it does not change."""
    assert await put(tables, 0, 1, **{"account:A1": b"old"}) == Committed()
    seen = await versions(tables, "account:A1", "account:A2")
    assert await tables.commit(batch(1, 2, seen=seen, cells={CELL: 1})) == Committed()
    assert await versions(tables, "account:A1") == {"account:A1": seen["account:A1"]}
    assert await put(tables, 2, 3, **{"account:A1": b"new"}) == Committed()
    assert await tables.commit(batch(3, 4, seen=seen, cells={CELL: 1})) == Conflict(["account:A1"])
    assert await put(tables, 3, 4, **{"account:A2": b"new"}) == Committed()
    assert await tables.commit(batch(4, 5, seen=seen, cells={CELL: 1})) == Conflict(["account:A1", "account:A2"])


async def test_every_attempt_has_a_version_of_its_own(tables: Tables) -> None:
    """Equal contents are still another version, so who read before a failover is not fooled by what came after it."""
    assert await put(tables, 0, 1, **{"lead:L1": b"same", "lead:L2": b"same"}) == Committed()
    first = await versions(tables, "lead:L1", "lead:L2")
    assert await put(tables, 1, 2, **{"lead:L1": b"same"}) == Committed()
    second = await versions(tables, "lead:L1")
    assert await put(tables, 2, 3, **{"lead:L1": None}) == Committed()
    assert await put(tables, 3, 4, **{"lead:L1": b"same"}) == Committed()
    third = await versions(tables, "lead:L1")
    assert len({first["lead:L1"], second["lead:L1"], third["lead:L1"]}) == 3
    assert all(len(version) == VERSION_BYTES for version in first.values())
    assert await tables.commit(batch(4, 5, seen=first, writes={"lead:L1": b"x"})) == Conflict(["lead:L1"])


async def test_a_record_that_was_not_read_cannot_be_written(tables: Tables) -> None:
    """It would be written unchecked: a defect of the caller, told before anything is sent."""
    with pytest.raises(KeyError):
        await tables.commit(batch(0, 1, writes={"lead:L1": b"x"}))
    assert await tables.offsets() == {"lead_created:0": 0}


async def test_a_record_can_be_removed_and_come_back(tables: Tables) -> None:
    """Removing one that is not there is no error; an empty content is a record and no removal."""
    assert await put(tables, 0, 1, **{"lead:L1": b"x", "lead:L2": None}) == Committed()
    assert await put(tables, 1, 2, **{"lead:L1": None}) == Committed()
    assert await tables.load(["lead:L1", "lead:L2"]) == {"lead:L1": None, "lead:L2": None}
    assert await put(tables, 2, 3, **{"lead:L1": b""}) == Committed()
    assert await contents(tables, "lead:L1") == {"lead:L1": b""}


async def test_a_cell_that_comes_to_zero_disappears(tables: Tables) -> None:
    """Its table goes with its last cell, and the month with its table: they are equal to ones that never had it."""
    hour, other, november = ("2026-10-05T09", CELL[1]), ("2026-10-06", "leads|source=fair"), ("2026-11-01", CELL[1])
    names = ("month:2026-10", "days:2026-10", "hours:2026-10", "month:2026-11")
    assert await tables.commit(batch(0, 1, cells={CELL: 2, hour: 2, other: 1, november: 1})) == Committed()
    assert await tables.commit(batch(1, 2, cells={CELL: -2, hour: -2})) == Committed()
    snapshot = await shown(tables, *names)
    assert snapshot.months == ["2026-10", "2026-11"]
    assert snapshot.tables == {
        "month:2026-10": {"leads|source=fair": 1},
        "days:2026-10": {"06|leads|source=fair": 1},
        "hours:2026-10": {},
        "month:2026-11": {"leads|source=web": 1},
    }
    assert await tables.commit(batch(2, 3, cells={other: -1})) == Committed()
    assert (await shown(tables)).months == ["2026-11"]
    assert await tables.commit(batch(3, 4, cells={november: -1, other: 1})) == Committed()
    assert (await shown(tables)).months == ["2026-10"]
    assert await tables.commit(batch(4, 5, cells={other: -1, CELL: 0})) == Committed()
    snapshot = await shown(tables, *names)
    assert snapshot.months == []
    assert snapshot.tables == {name: {} for name in names}


async def test_days_that_cancel_out_leave_the_month_alone(tables: Tables) -> None:
    """A month's total is changed by what its days add up to, and by nothing where that is 0."""
    later = ("2026-10-06", CELL[1])
    assert await tables.commit(batch(0, 1, cells={CELL: 3})) == Committed()
    assert await tables.commit(batch(1, 2, cells={CELL: -1, later: 1})) == Committed()
    assert (await shown(tables, "month:2026-10", "days:2026-10")).tables == {
        "month:2026-10": {"leads|source=web": 3},
        "days:2026-10": {"05|leads|source=web": 2, "06|leads|source=web": 1},
    }


async def test_integers_are_exact_beyond_binary_floats(tables: Tables) -> None:
    """Cells, counters and offsets past 2^53 come back to the last digit."""
    await tables.start_at(TOPIC, 1, HUGE)
    cells = {CELL: HUGE, ("2026-10-06", CELL[1]): HUGE + 1}
    assert await tables.commit(batch(HUGE, HUGE + 1, 1, cells=cells, counters={"n": HUGE})) == Committed()
    assert await tables.commit(batch(HUGE + 1, HUGE + 3, 1, cells={CELL: -1}, counters={"n": 2})) == Committed()
    assert await tables.commit(batch(HUGE, HUGE + 3, 1, cells={CELL: -1})) == Elsewhere(HUGE + 3)
    snapshot = await shown(tables, "month:2026-10", "days:2026-10")
    assert snapshot.tables == {
        "month:2026-10": {"leads|source=web": 2 * HUGE},
        "days:2026-10": {"05|leads|source=web": HUGE - 1, "06|leads|source=web": HUGE + 1},
    }
    assert snapshot.counters == {"n": HUGE + 2}
    assert snapshot.offsets["lead_created:1"] == HUGE + 3
    gone = {CELL: 1 - HUGE, ("2026-10-06", CELL[1]): -HUGE - 1}
    assert await tables.commit(batch(HUGE + 3, HUGE + 4, 1, cells=gone)) == Committed()
    assert (await shown(tables)).months == []


async def test_a_batch_may_be_larger_than_a_script_can_unpack(tables: Tables) -> None:
    """Thousands of records, conflicts, removals and cells go through whole."""
    refs = [f"lead:{number}" for number in range(MANY)]
    records = {ref: ref.encode() for ref in refs}
    cells = {(f"2026-{1 + number % 12:02d}-05", f"leads|source={number}"): number + 1 for number in range(MANY)}
    assert await put(tables, 0, 1, **records) == Committed()
    assert await contents(tables, *refs) == records
    seen = await versions(tables, *refs)
    assert await tables.commit(batch(1, 2, seen=seen, writes=records, cells=cells)) == Committed()
    assert await all_cells(tables) == cells
    assert await tables.commit(batch(2, 3, seen=seen)) == Conflict(refs)
    one_is_old = {**await versions(tables, *refs), refs[4000]: seen[refs[4000]]}
    assert await tables.commit(batch(2, 3, seen=one_is_old)) == Conflict([refs[4000]])
    removed = dict.fromkeys(refs)
    gone = {cell: -number for cell, number in cells.items()}
    last = await tables.commit(batch(2, 3, seen=await versions(tables, *refs), writes=removed, cells=gone))
    assert last == Committed()
    assert await tables.load(refs) == removed
    assert (await shown(tables)).months == []


async def test_ids_and_names_are_taken_exactly(tables: Tables) -> None:
    """Spaces, separators, other alphabets and look-alikes in ids and sources come back as they went in."""
    records = {f"lead:{odd}": odd.encode() for odd in ODD}
    cells = {("2026-10-05", f"leads|source={odd}"): number for number, odd in enumerate(ODD, 1)}
    nothing = dict.fromkeys(records, b"")
    assert await tables.commit(batch(0, 1, seen=nothing, writes=records, cells=cells)) == Committed()
    assert await contents(tables, *records) == records
    assert await all_cells(tables) == cells
    assert await tables.commit(batch(1, 2, seen=nothing)) == Conflict(list(records))


async def test_tables_that_were_lost_are_noticed_and_made_again(store: Store, tables: Tables) -> None:
    """After a FLUSHALL a commit finds no offset, and none is written; opening makes empty tables as on the first day."""
    assert await tables.commit(batch(0, 1, cells={CELL: 1})) == Committed()
    await store.lose()
    assert await tables.snapshot() is None
    assert await tables.offsets() == {}
    assert await tables.commit(batch(1, 2, cells={CELL: 1})) == Elsewhere(None)
    await tables.open(DEFINITIONS)
    assert await tables.commit(batch(1, 2, cells={CELL: 1})) == Elsewhere(None), "definitions without an offset"
    assert await tables.start_at(TOPIC, 0, 0) == 0
    assert await tables.commit(batch(0, 1, cells={CELL: 1})) == Committed()
    assert await all_cells(tables) == {CELL: 1}


async def test_a_snapshot_shows_one_instant(store: Store, tables: Tables) -> None:
    """While a writer moves sales from month to month, every reader sees their sum, and counters at the same offset."""
    first, second = ("2026-01-05", "booked_sales|category=returning"), ("2026-12-05", "booked_sales|category=returning")
    assert await tables.commit(batch(0, 1, cells={first: 1000, second: 1000}, counters={"processed": 1})) == Committed()
    # So many names between the two that a server reads them in several pieces.
    names = ["month:2026-01", *(f"month:{year}-02" for year in range(2100, 3100)), "days:2026-12"]
    writer_is_done = False

    async def write() -> None:
        nonlocal writer_is_done
        other = store.client()
        await other.open(DEFINITIONS)
        for offset in range(1, 200):
            moved = 1 if offset % 3 else -1
            cells = {first: -moved, second: moved}
            answer = await other.commit(
                batch(
                    offset, offset + 1, cells=cells, counters={"processed": 1}, marks={"last_commit": str(offset + 1)}
                )
            )
            assert answer == Committed()
            await asyncio.sleep(0)
        writer_is_done = True

    async def read() -> int:
        distinct: set[int] = set()
        reader = store.client()
        while not writer_is_done:
            snapshot = await shown(reader, *names)
            january = snapshot.tables["month:2026-01"][first[1]]
            december = snapshot.tables["days:2026-12"]["05|" + second[1]]
            assert january + december == 2000
            offset = snapshot.offsets["lead_created:0"]
            assert snapshot.counters["processed"] == offset
            assert snapshot.marks.get("last_commit", "1") == str(offset)
            distinct.add(offset)
            await asyncio.sleep(0)
        return len(distinct)

    reading = [asyncio.create_task(read()) for _ in range(3)]
    await write()
    seen = await asyncio.gather(*reading)
    assert min(seen) > 5, "the readers did not read while the writer wrote"


# The fold, end to end.


class Worker:
    """Reads, folds and commits messages of one partition, as the real one does, until each batch is in."""

    def __init__(self, tables: Tables, partition: int) -> None:
        self._tables = tables
        self._partition = partition
        self._rules = Rules(DEFINITIONS)
        self.conflicts = 0

    async def take(self, messages: Collection[tuple[str, bytes]]) -> None:
        """Fold one batch."""
        before = (await self._tables.offsets())[f"{TOPIC}:{self._partition}"]
        while True:
            fold = Fold([decode(topic, value) for topic, value in messages], self._rules)
            stored = await self._tables.load(fold.first_reads())
            stored |= await self._tables.load(fold.homes_left(_bare(stored)))
            fold.merge(_bare(stored))
            await asyncio.sleep(0)
            stored |= await self._tables.load(fold.accounts())
            outcome = fold.settle(_bare(stored))
            assert outcome.rejections == []
            answer = await self._tables.commit(
                batch(
                    before,
                    before + len(messages),
                    self._partition,
                    seen={ref: (record or b"")[:VERSION_BYTES] for ref, record in stored.items()},
                    writes=outcome.writes,
                    cells=outcome.cells,
                )
            )
            if answer == Committed():
                return
            assert isinstance(answer, Conflict)
            self.conflicts += 1


def _bare(stored: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    return {ref: None if record is None else record[VERSION_BYTES:] for ref, record in stored.items()}


def _batches(messages: list[tuple[str, bytes]], size: int) -> Iterable[list[tuple[str, bytes]]]:
    return (messages[start : start + size] for start in range(0, len(messages), size))


@pytest.mark.parametrize("size", [1, 2, 3, 8])
async def test_the_worked_example_comes_out_of_the_store(tables: Tables, size: int) -> None:
    """Folded through the store in batches of any size, the tables are those of docs/kpis.md."""
    worker = Worker(tables, 0)
    for messages in _batches(EVENTS, size):
        await worker.take(messages)
    assert await all_cells(tables) == TABLES
    expected = {name: table for name, table in by_table(TABLES).items() if table}
    assert (await shown(tables, *expected)).tables == expected
    assert (await shown(tables)).offsets == {"lead_created:0": len(EVENTS)}


async def test_workers_of_two_partitions_do_not_disturb_each_other(store: Store, tables: Tables) -> None:
    """Two workers that share leads and accounts retry on conflicts until the tables are right."""
    await tables.start_at(TOPIC, 1, 0)
    clients = [store.client(), store.client()]
    for client in clients:
        await client.open(DEFINITIONS)
    workers = [Worker(client, number) for number, client in enumerate(clients)]
    barrier = asyncio.Barrier(2)

    async def work(worker: Worker, messages: list[tuple[str, bytes]]) -> None:
        for message in messages:
            await barrier.wait()
            await worker.take([message])

    await asyncio.gather(*(work(worker, EVENTS[number::2]) for number, worker in enumerate(workers)))
    assert await all_cells(tables) == TABLES
    assert sum(worker.conflicts for worker in workers) > 0, "the workers never met"


async def test_withdrawn_events_leave_no_cell(tables: Tables) -> None:
    """When every entity of the worked example is retracted, the tables are as if nothing had ever come."""
    worker = Worker(tables, 0)
    await worker.take(EVENTS)
    names = {"lead_created": "lead_id", "quote_sent": "quote_id", "deal_closed": "deal_id"}
    for topic, value in EVENTS:
        event = decode(topic, value)
        retraction = (
            f'{{"event_id": "r", "occurred_at": "2026-10-01T00:00:00Z", "revision": 1, "retracted": true, '
            f'"{names[topic]}": "{event.key}"}}'
        )
        await worker.take([(topic, retraction.encode())])
    assert (await shown(tables)).months == []
    assert await tables.load(["account:A1", "lead:L2"]) == {"account:A1": None, "lead:L2": None}


# What only a Redis can do wrong.


@pytest.mark.parametrize("part", ["meta", "offsets", "counters", "marks", "months", "month:2026-10", "hours:2026-10"])
async def test_a_key_of_a_wrong_type_stops_a_commit_before_it_writes(in_redis: RedisStore, part: str) -> None:
    """A string where a hash or set belongs is an error that names the key; not one byte has changed after it."""
    await in_redis.tables.open(DEFINITIONS)
    await in_redis.tables.start_at(TOPIC, 0, 0)
    hour = ("2026-10-05T09", CELL[1])
    assert await in_redis.tables.commit(batch(0, 1, cells={CELL: 1, hour: 1}, counters={"n": 1})) == Committed()
    key = in_redis.layout.table(part) if ":" in part else str(getattr(in_redis.layout, part))
    await in_redis.redis.set(key, "x")
    before = await in_redis.dump()
    with pytest.raises(ResponseError, match=r"SALESFX the key .* is a string, not a (hash|set)") as error:
        await in_redis.tables.commit(
            batch(
                1,
                2,
                seen={"lead:L1": b""},
                writes={"lead:L1": b"x"},
                cells={CELL: 1, hour: 1},
                counters={"n": 1},
                marks={"last_commit": "now"},
            )
        )
    assert key in str(error.value)
    assert await in_redis.dump() == before


@pytest.mark.parametrize("written", ["x", "1.5", "0x10", "1e3", ""])
async def test_a_cell_that_is_no_number_stops_a_commit_before_it_writes(in_redis: RedisStore, written: str) -> None:
    """Somebody else has written to the table: nothing of the batch is in, so that a mended table can go on."""
    await in_redis.tables.open(DEFINITIONS)
    await in_redis.tables.start_at(TOPIC, 0, 0)
    assert await in_redis.tables.commit(batch(0, 1, cells={CELL: 1})) == Committed()
    await in_redis.redis.hset(in_redis.layout.table("month:2026-10"), CELL[1], written)
    before = await in_redis.dump()
    with pytest.raises(ResponseError, match="holds no number under"):
        await in_redis.tables.commit(batch(1, 2, cells={CELL: 1, ("2026-10-06", CELL[1]): 1}, counters={"n": 1}))
    assert await in_redis.dump() == before


async def test_empty_tables_leave_no_key(in_redis: RedisStore) -> None:
    """A table without cells, and the set of months without months, are no keys."""
    await in_redis.tables.open(DEFINITIONS)
    await in_redis.tables.start_at(TOPIC, 0, 0)
    before = set(await in_redis.dump())
    hour = ("2026-10-05T09", CELL[1])
    assert await in_redis.tables.commit(batch(0, 1, cells={CELL: 1, hour: 1})) == Committed()
    assert set(await in_redis.dump()) - before == {
        in_redis.layout.months,
        *map(in_redis.layout.table, ("month:2026-10", "days:2026-10", "hours:2026-10")),
    }
    assert await in_redis.tables.commit(batch(1, 2, cells={CELL: -1, hour: -1})) == Committed()
    assert set(await in_redis.dump()) == before


async def test_the_script_is_sent_again_where_redis_forgot_it(in_redis: RedisStore) -> None:
    """A Redis that was started anew, or whose scripts were flushed, gets it with the next commit."""
    await in_redis.tables.open(DEFINITIONS)
    await in_redis.tables.start_at(TOPIC, 0, 0)
    assert await in_redis.tables.commit(batch(0, 1)) == Committed()
    await in_redis.redis.script_flush()
    assert await in_redis.tables.commit(batch(1, 2)) == Committed()


async def test_nothing_expires(in_redis: RedisStore) -> None:
    """No key of the tables has a time to live."""
    await in_redis.tables.open(DEFINITIONS)
    await in_redis.tables.start_at(TOPIC, 0, 0)
    await Worker(in_redis.tables, 0).take(EVENTS)
    keys = list(await in_redis.dump())
    assert len(keys) > 20
    assert [await in_redis.redis.ttl(key) for key in keys] == [-1] * len(keys)


async def test_namespaces_do_not_see_each_other(in_redis: RedisStore) -> None:
    """Tables under another name in the same Redis are other tables."""
    await in_redis.tables.open(DEFINITIONS)
    other = RedisTables(in_redis.redis, in_redis.namespace + "-2")
    assert await other.snapshot() is None
    assert await other.offsets() == {}


async def test_readers_show_the_generation_that_is_current(in_redis: RedisStore) -> None:
    """A snapshot follows the key `current`, and is None while that names a generation that is not there."""
    await in_redis.tables.open(DEFINITIONS)
    await in_redis.redis.set(current_key(in_redis.namespace), "2")
    assert await in_redis.tables.snapshot() is None
    later = in_redis.client()
    await later.open(DOLLARS)
    snapshot = await shown(in_redis.tables)
    assert (snapshot.generation, snapshot.fingerprint) == ("2", DOLLARS.fingerprint)


async def test_who_has_opened_a_generation_stays_with_it(in_redis: RedisStore) -> None:
    """After a swap it goes on, though its definitions are not those shown; whoever opens now needs those that are."""
    await in_redis.tables.open(DEFINITIONS)
    await in_redis.tables.start_at(TOPIC, 0, 0)
    generations = Generations(in_redis.redis, in_redis.namespace)
    number = await generations.begin(DOLLARS, "1")
    await generations.complete(number)
    await generations.show(number, instead_of="1")
    await in_redis.tables.open(DEFINITIONS)
    assert await in_redis.tables.commit(batch(0, 1, cells={CELL: 1})) == Committed()
    assert await in_redis.tables.offsets() == {f"{TOPIC}:0": 1}
    reader = in_redis.client()
    assert await reader.offsets() == {}, "who has opened nothing reads what is shown"
    with pytest.raises(DefinitionsChangedError):
        await reader.open(DEFINITIONS)
    snapshot = await shown(in_redis.tables)
    assert (snapshot.generation, dict(snapshot.offsets)) == (number, {})


async def test_a_new_generation_belongs_to_the_same_log(in_redis: RedisStore) -> None:
    """The ids of the log, and where its counting began, are taken over when it is begun."""
    await in_redis.tables.open(DEFINITIONS)
    identity = await in_redis.tables.log_identity({"cluster": "c1", f"{LOG_START}{TOPIC}:0": "7"})
    number = await Generations(in_redis.redis, in_redis.namespace).begin(DOLLARS, "1")
    other = RedisTables(in_redis.redis, in_redis.namespace, number, DOLLARS.fingerprint)
    assert await other.stored_log_identity() == identity
    assert await other.start_at(TOPIC, 0, 7) == 7
    assert await other.commit(batch(7, 9, cells={CELL: 1})) == Committed()
    assert await in_redis.tables.offsets() == {}


async def test_after_flushall_a_worker_makes_its_own_generation_again(in_redis: RedisStore) -> None:
    """Whichever it was; of workers of two generations the first decides which is shown, and the other ends."""
    await in_redis.tables.open(DEFINITIONS)
    generations = Generations(in_redis.redis, in_redis.namespace)
    number = await generations.begin(DOLLARS, "1")
    await generations.complete(number)
    await generations.show(number)
    new, beside = in_redis.client(), in_redis.client()
    await new.open(DOLLARS)
    await beside.open(DOLLARS)
    await in_redis.lose()
    assert await new.commit(batch(0, 1)) == Elsewhere(None)
    await asyncio.gather(new.open(DOLLARS), beside.open(DOLLARS))
    assert (await shown(new)).generation == number
    assert await new.start_at(TOPIC, 0, 0) == 0
    assert await beside.commit(batch(0, 1, cells={CELL: 1})) == Committed()
    with pytest.raises(DroppedError, match=f"generation 1 .* generation {number} is shown now"):
        await in_redis.tables.open(DEFINITIONS)
    assert await all_cells(new) == {CELL: 1}


async def test_nobody_brings_a_dropped_generation_back(in_redis: RedisStore) -> None:
    """A client of it is told, gets nothing in, and its number is not used again."""
    await in_redis.tables.open(DEFINITIONS)
    await in_redis.tables.start_at(TOPIC, 0, 0)
    generations = Generations(in_redis.redis, in_redis.namespace)
    with pytest.raises(GenerationError, match="is the one that is shown"):
        await generations.drop("1")
    number = await generations.begin(DOLLARS, "1")
    with pytest.raises(GenerationError, match="only half made"):
        await generations.show(number)
    await generations.complete(number)
    await generations.show(number)
    await generations.drop("1")
    left = await in_redis.dump()
    assert await in_redis.tables.commit(batch(0, 1, cells={CELL: 1})) == Elsewhere(None)
    with pytest.raises(TablesGoneError):
        await in_redis.tables.start_at(TOPIC, 0, 0)
    with pytest.raises(DroppedError, match="was dropped"):
        await in_redis.tables.open(DEFINITIONS)
    assert await in_redis.dump() == left
    assert {key.rpartition(":")[0] for key in left} == {f"{{{in_redis.namespace}}}", f"{{{in_redis.namespace}}}:2"}
    await generations.drop(await generations.begin(DEFINITIONS, number))
    assert await generations.begin(DEFINITIONS, number) == "4"


async def test_two_rebuilds_begin_two_generations(in_redis: RedisStore) -> None:
    """At once they get two numbers; only one of two that were compared with the same tables can take their place."""
    await in_redis.tables.open(DEFINITIONS)
    several = [Generations(in_redis.redis, in_redis.namespace) for _ in range(3)]
    numbers = await asyncio.gather(*(each.begin(DOLLARS, "1") for each in several))
    assert sorted(numbers) == ["2", "3", "4"]
    for number in numbers:
        await several[0].complete(number)
    swaps = [each.show(number, instead_of="1") for each, number in zip(several, numbers, strict=True)]
    ends = await asyncio.gather(*swaps, return_exceptions=True)
    assert [type(end) for end in ends if end is not None] == [GenerationError, GenerationError]


async def test_a_lost_answer_begins_nothing_twice(redis_url: str, namespace: str) -> None:
    """The generation that was begun, and of which nobody could be told, is found again."""
    async with OpenRedisStore(redis_url, namespace) as beside, LosingProxy(redis_url) as proxy:
        await beside.tables.open(DEFINITIONS)
        async with connect(proxy.url) as client:
            assert await Generations(client, namespace).begin(DOLLARS, "1") == "2"
        assert proxy.has_lost
        assert [each.number for each in await Generations(beside.redis, namespace).all()] == ["1", "2"]


async def test_a_lost_answer_is_no_refusal_of_a_swap(redis_url: str, namespace: str) -> None:
    """What was swapped is shown, though the connection broke before anybody was told."""
    async with OpenRedisStore(redis_url, namespace) as beside, LosingProxy(redis_url) as proxy:
        await beside.tables.open(DEFINITIONS)
        generations = Generations(beside.redis, namespace)
        await generations.complete(await generations.begin(DOLLARS, "1"))
        async with connect(proxy.url) as client:
            await Generations(client, namespace).show("2", instead_of="1")
        assert proxy.has_lost
        assert (await shown(beside.tables)).generation == "2"


async def test_nothing_is_begun_beside_what_is_not_shown(in_redis: RedisStore) -> None:
    """Another rebuild has swapped meanwhile: what is begun would be compared with tables that nobody sees."""
    await in_redis.tables.open(DEFINITIONS)
    generations = Generations(in_redis.redis, in_redis.namespace)
    number = await generations.begin(DOLLARS, "1")
    await generations.complete(number)
    await generations.show(number)
    with pytest.raises(GenerationError, match="generation 2 is shown by now, not 1"):
        await generations.begin(DOLLARS, "1")
    assert [each.number for each in await generations.all()] == ["1", "2"]


async def test_a_swap_while_it_is_begun_is_noticed(in_redis: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also between the look at what is shown and the beginning."""
    await in_redis.tables.open(DEFINITIONS)
    generations = Generations(in_redis.redis, in_redis.namespace)
    number = await generations.begin(DOLLARS, "1")
    await generations.complete(number)
    get = Pipeline.get

    async def and_then_another_is_shown(pipe: Any, key: str) -> Any:
        found = await get(pipe, key)
        await in_redis.redis.set(current_key(in_redis.namespace), number)
        return found

    monkeypatch.setattr(Pipeline, "get", and_then_another_is_shown)
    with pytest.raises(GenerationError, match="generation 2 is shown by now, not 1"):
        await generations.begin(DOLLARS, "1")


async def test_offsets_that_are_none_are_named(in_redis: RedisStore) -> None:
    """Somebody has written to the offsets: whoever looks at the generations, or at the offsets, is told which, and what to do."""
    await in_redis.tables.open(DEFINITIONS)
    generations = Generations(in_redis.redis, in_redis.namespace)
    number = await generations.begin(DOLLARS, "1")
    await in_redis.redis.hset(Layout(in_redis.namespace, number).offsets, "note", "mine")
    with pytest.raises(GenerationError, match=r"generation 2, which is not shown, .*`salesfx generations drop 2`"):
        await generations.all()
    await generations.drop(number)
    assert [each.number for each in await generations.all()] == ["1"]
    await in_redis.redis.hset(in_redis.layout.offsets, "note", "mine")
    with pytest.raises(TablesDamagedError, match="table 1:offsets in Redis holds b'mine' under b'note'"):
        await generations.all()
    with pytest.raises(TablesDamagedError, match="table offsets in Redis holds b'mine' under b'note'"):
        await in_redis.tables.offsets()


async def test_a_dropped_generation_gets_no_identity_again(store: Store, tables: Tables) -> None:
    """A worker of it that looks at its Kafka once more leaves nothing behind."""
    await store.lose()
    assert await tables.log_identity({"cluster": "c1"}) == {}
    assert await tables.stored_log_identity() == {}


async def test_where_nothing_says_which_is_shown_nobody_guesses(in_redis: RedisStore) -> None:
    """The key `current` alone is gone: with one generation it is clear, with two a worker asks."""
    await in_redis.tables.open(DEFINITIONS)
    await in_redis.redis.delete(current_key(in_redis.namespace))
    await in_redis.client().open(DEFINITIONS)
    assert (await shown(in_redis.tables)).generation == "1"
    generations = Generations(in_redis.redis, in_redis.namespace)
    number = await generations.begin(DOLLARS, "1")
    await generations.complete(number)
    await in_redis.redis.delete(current_key(in_redis.namespace))
    with pytest.raises(GenerationError, match=r"generations 1, 2 .* `salesfx generations show N`"):
        await in_redis.client().open(DEFINITIONS)
    await generations.show(number)
    assert (await shown(in_redis.tables)).generation == number


async def test_the_twin_in_memory_answers_like_redis(in_redis: RedisStore) -> None:
    """Over long random sequences of right and wrong commits both give the same answers and end in the same tables."""
    chance = random.Random(7)
    both: list[Tables] = [MemoryTables(), in_redis.tables]
    refs = [f"lead:{number}" for number in range(5)]
    read: list[list[dict[str, bytes]]] = [[dict.fromkeys(refs, b"")], [dict.fromkeys(refs, b"")]]
    kinds: set[type] = set()
    for tables in both:
        await tables.open(DEFINITIONS)
        await tables.start_at(TOPIC, 0, 0)
    offset = 0
    for step in range(1500):
        how_old = min(chance.choice([0, 0, 0, 0, 1, 3]), len(read[0]) - 1)
        chosen = chance.sample(refs, chance.randint(0, len(refs)))
        writes = {ref: chance.choice([None, b"", b"one", b"two"]) for ref in chosen[: chance.randint(0, 3)]}
        before = offset + chance.choice([0, 0, 0, 0, 0, 0, 1, -1])
        cells = {
            (
                f"2026-{chance.randint(10, 12)}-{chance.choice(['01', '02', '02T10'])}",
                chance.choice(["a|b", "c|d"]),
            ): chance.randint(-2, 2)
            for _ in range(chance.randint(0, 4))
        }
        answers = []
        for tables, past in zip(both, read, strict=True):
            seen = {ref: past[-1 - how_old][ref] for ref in chosen}
            answers.append(
                await tables.commit(
                    batch(
                        before,
                        before + step % 3,
                        0,
                        seen=seen,
                        writes=writes,
                        cells=cells,
                        counters={"n": step % 5},
                        marks={"step": str(step)},
                    )
                )
            )
            past.append(await versions(tables, *refs))
        assert answers[0] == answers[1], step
        kinds.add(type(answers[0]))
        offset = (await both[0].offsets())[f"{TOPIC}:0"]
        assert await both[0].offsets() == await both[1].offsets()
        if step % 50 == 0:
            names = [f"{kind}2026-{month}" for kind in (MONTH, DAYS, HOURS) for month in (10, 11, 12)]
            assert await shown(both[0], *names) == await shown(both[1], *names)
            assert await contents(both[0], *refs) == await contents(both[1], *refs)
    assert kinds == {Committed, Conflict, Elsewhere}


async def test_a_redis_that_evicts_is_refused(own: RedisStore) -> None:
    """It would drop records in silence: the error says what to set."""
    await own.tables.check()
    await own.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(StoreUnfitError, match=r"allkeys-lru.*CONFIG SET maxmemory-policy noeviction"):
            await own.tables.check()
    finally:
        await own.redis.config_set("maxmemory-policy", "noeviction")
    await own.tables.check()


@pytest.mark.parametrize("version", ["6.0.16", "5.0.7", "2.8"])
async def test_a_redis_that_is_too_old_is_refused(
    own: RedisStore, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says which one is there and which is needed."""

    async def info(_section: str) -> dict[str, str]:
        return {"redis_version": version}

    client = connect("redis://127.0.0.1:1")
    monkeypatch.setattr(client, "info", info)
    with pytest.raises(StoreUnfitError, match=f"Redis {version}; salesfx needs 6.2"):
        await RedisTables(client, own.namespace).check()


async def test_a_redis_without_memory_left_refuses_a_batch_whole(own: RedisStore) -> None:
    """With maxmemory reached nothing of a commit is written; with room again the same commit goes through."""
    await own.tables.open(DEFINITIONS)
    await own.tables.start_at(TOPIC, 0, 0)
    commit = batch(
        0,
        1,
        seen={"lead:L1": b""},
        writes={"lead:L1": b"x" * 1000},
        cells={CELL: 1},
        counters={"n": 1},
        marks={"m": "x"},
    )
    before = await own.dump()
    await own.redis.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(ResponseError, match=r"(?i)OOM|maxmemory"):
            await own.tables.commit(commit)
        assert await own.dump() == before
    finally:
        await own.redis.config_set("maxmemory", "0")
    assert await own.tables.commit(commit) == Committed()


async def test_a_generation_can_be_dropped_where_memory_has_run_out(in_redis: RedisStore) -> None:
    """That is what gives room again: commits are refused then, and of Redis 7 every transaction of readers too."""
    await in_redis.tables.open(DEFINITIONS)
    await in_redis.tables.start_at(TOPIC, 0, 0)
    generations = Generations(in_redis.redis, in_redis.namespace)
    number = await generations.begin(DOLLARS, "1")
    beside = RedisTables(in_redis.redis, in_redis.namespace, number, DOLLARS.fingerprint)
    await beside.start_at(TOPIC, 0, 0)
    for place in range(10):
        writes = {f"lead:{place}{number}": b"x" * 10_000 for number in range(100)}
        await beside.commit(batch(place, place + 1, seen=dict.fromkeys(writes, b""), writes=writes))
    await in_redis.redis.config_set("maxmemory", "8mb")
    try:
        with pytest.raises(ResponseError, match=r"(?i)OOM|maxmemory"):
            await in_redis.tables.commit(batch(0, 1, cells={CELL: 1}))
        if "valkey_version" not in await in_redis.redis.info("server"):
            with pytest.raises(ResponseError, match=r"(?i)OOM|maxmemory"):
                await in_redis.tables.snapshot()
        assert [each.number for each in await generations.all()] == ["1", "2"]
        assert (await generations.size("2")).keys == 1002
        await generations.drop("2")
        assert await in_redis.tables.commit(batch(0, 1, cells={CELL: 1})) == Committed()
        assert await all_cells(in_redis.tables) == {CELL: 1}
    finally:
        await in_redis.redis.config_set("maxmemory", "0")
    assert [key for key in await in_redis.dump() if ":2:" in key] == []
    assert [each.number for each in await generations.all()] == ["1"]


async def test_flushall_is_noticed(own: RedisStore) -> None:
    """The real command, on a server of its own: a commit finds no offset and writes nothing."""
    await own.tables.open(DEFINITIONS)
    await own.tables.start_at(TOPIC, 0, 0)
    assert await own.tables.commit(batch(0, 1, cells={CELL: 1})) == Committed()
    await own.redis.flushall()
    assert await own.tables.commit(batch(1, 2, cells={CELL: 1})) == Elsewhere(None)
    assert await own.redis.dbsize() == 0


@pytest.mark.parametrize(("field", "number"), [("leads|source=web", "1.5"), (b"leads|source=\xff", "1")])
async def test_what_is_no_cell_is_named(in_redis: RedisStore, field: str | bytes, number: str) -> None:
    """Somebody has written to a table: whoever reads it is told which, and what to do, or gets the rest and is told all."""
    await in_redis.tables.open(DEFINITIONS)
    await in_redis.redis.hset(in_redis.layout.table(MONTH + "2026-10"), field, number)
    await in_redis.redis.hset(in_redis.layout.table(MONTH + "2026-10"), "leads|source=fair", 3)
    with pytest.raises(TablesDamagedError, match=r"month:2026-10 in Redis holds .* under .*`salesfx rebuild --anyway`"):
        await in_redis.tables.snapshot([MONTH + "2026-10"])
    damaged: dict[str, str] = {}
    reader = RedisTables(in_redis.redis, in_redis.namespace)
    snapshot = await reader.snapshot([MONTH + "2026-10"], "1", damaged)
    assert snapshot is not None
    assert snapshot.tables == {MONTH + "2026-10": {"leads|source=fair": 3}}
    assert list(damaged.values()) == [number]


# What people read.

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "redis-layout.md"


def test_every_key_is_documented() -> None:
    """docs/redis-layout.md names every key of the layout and every kind of record, as they stand in Redis."""
    text = DOCUMENT.read_text(encoding="utf-8")
    layout = Layout("salesfx", "1")
    keys = [
        key for name, key in vars(layout).items() if not name.startswith("_") and name not in {"generation", "prefix"}
    ]
    keys += [
        current_key("salesfx"),
        generations_key("salesfx"),
        layout.journal("TOKEN"),
        *(layout.table(kind + "2026-10") for kind in (MONTH, DAYS, HOURS)),
    ]
    keys += [layout.record(kind + "ID") for kind in (LEAD, QUOTE, DEAL, ACCOUNT, QUOTE_STAND_IN, DEAL_STAND_IN)]
    assert len(keys) == 20
    assert [key for key in keys if f"`{key}`" not in text] == []
    assert [metric.name for metric in CATALOGUE if f"`{metric.name}`" not in text] == []
    for record in (QuoteFacts, DealFacts):
        assert f"| {', '.join(record.__struct_fields__)} |" in text
    assert f"| {', '.join(Standing.__struct_fields__[:-3])}, home (" in text


async def test_every_key_that_a_worker_makes_is_documented(in_redis: RedisStore) -> None:
    """After real work there is no key in Redis whose form is not in docs/redis-layout.md."""
    await in_redis.tables.open(DEFINITIONS)
    await in_redis.tables.start_at(TOPIC, 0, 0)
    await in_redis.tables.log_identity({"cluster": "c1"})
    await Worker(in_redis.tables, 0).take(EVENTS)
    text = DOCUMENT.read_text(encoding="utf-8")
    for key in await in_redis.dump():
        kind, colon, _ = key.removeprefix(f"{{{in_redis.namespace}}}:").removeprefix("1:").partition(":")
        assert f":{kind}{colon}" in text, key


async def test_the_newest_heartbeat_of_a_feed_is_kept(tables: Tables) -> None:
    """In whatever order they come, by topic and feed; names with bars and other letters are kept as they are."""
    for number, moment in enumerate(("1790000000.500", "1790000060.000", "999999999.000")):
        heartbeats = [(TOPIC, "a|b", moment), ("quote_sent", "Продажби", moment)]
        assert await tables.commit(batch(number, number + 1, heartbeats=heartbeats)) == Committed()
    marks = (await shown(tables)).marks
    assert heartbeats_in(marks) == {(TOPIC, "a|b"): 1790000060.0, ("quote_sent", "Продажби"): 1790000060.0}


async def test_a_topic_has_room_for_so_many_feeds(tables: Tables) -> None:
    """A further one is not kept, and the answer says so; the worker's own always is, as are those that are known."""
    now = 1_790_000_000
    feeds = [(TOPIC, f"feed {number:02}", f"{now + number}.000") for number in range(MOST_FEEDS)]
    assert await tables.commit(batch(0, 1, heartbeats=[*feeds, ("quote_sent", "feed", f"{now}.000")])) == Committed()
    more = [
        (TOPIC, "one more", f"{now + 900}.000"),
        (TOPIC, WORKER, f"{now}.000"),
        (TOPIC, "feed 03", f"{now + 900}.000"),
    ]
    assert await tables.commit(batch(1, 2, heartbeats=more)) == Committed((TOPIC,))
    heard = heartbeats_in((await shown(tables)).marks)
    assert {feed for topic, feed in heard if topic == TOPIC} == {WORKER, *(feed for _, feed, _ in feeds)}
    assert heard[TOPIC, "feed 03"] == now + 900


async def test_a_feed_that_was_silent_for_a_week_gives_way(tables: Tables) -> None:
    """The one that was not heard for longest, to one that is heard now."""
    now = 1_790_000_000
    feeds = [(TOPIC, f"feed {number:02}", f"{now + number}.000") for number in range(MOST_FEEDS)]
    await tables.commit(batch(0, 1, heartbeats=feeds))
    in_time, later = now + FORGOTTEN_SECONDS, now + FORGOTTEN_SECONDS + 0.5
    assert await tables.commit(batch(1, 2, heartbeats=[(TOPIC, "new", f"{in_time}.000")])) == Committed((TOPIC,))
    assert await tables.commit(batch(2, 3, heartbeats=[(TOPIC, "new", f"{later:.3f}")])) == Committed()
    heard = {feed for _, feed in heartbeats_in((await shown(tables)).marks)}
    assert heard == {"new", *(feed for _, feed, _ in feeds[1:])}


async def test_the_share_of_refused_events_weighs_the_last_ones_most(tables: Tables) -> None:
    """Every store comes to the same share, and forgets one that is nothing any more."""
    name = f"refused_share|{TOPIC}"
    for number, (arrived, expected) in enumerate(
        [((4, 0), None), ((1, 1), "0.100000"), ((10, 10), "0.686189"), ((3, 1), "0.590565")]
    ):
        await tables.commit(batch(number, number + 1, arrived={TOPIC: arrived}))
        assert (await shown(tables)).marks.get(name) == expected
    await tables.commit(batch(4, 5, arrived={TOPIC: (100, 0)}))
    assert name not in (await shown(tables)).marks
