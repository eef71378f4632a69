"""A view shows the tables and all records of one instant, whatever is committed meanwhile: in every kind of store."""

import asyncio
import os
import random
import signal
from collections.abc import Collection, Mapping
from typing import Self

import pytest

from salesfx.lead import ACCOUNT, LEAD, QUOTE_STAND_IN
from salesfx.tables import RedisTables, Tables, View, ViewLostError, connect
from salesfx.tables.layout import DAYS, HOURS, MONTH, VERSION_BYTES
from salesfx.tables.store import Committed, Snapshot
from salesfx.tables.view import JOURNAL_SECONDS
from tests.stores import DEFINITIONS, TOPIC, RedisStore, Store, batch, put, shown

CELL = ("2026-10-05", "leads|source=web")
HOUR = ("2026-10-05T11", "leads|source=web")
MANY = 9_000
"""Records that take several chunks to read."""


async def scanned(view: View, *kinds: str) -> dict[str, bytes]:
    """Read all records of some kinds; none may come twice."""
    found: dict[str, bytes] = {}
    async for chunk in view.scan(*kinds):
        assert not found.keys() & chunk.keys()
        found |= chunk
    return found


async def fill(tables: Tables, before: int, records: Mapping[str, bytes | None]) -> None:
    """Commit records."""
    assert await put(tables, before, before + 1, **records) == Committed()


async def test_there_is_no_view_of_what_is_not_there(store: Store) -> None:
    """Without tables there is none."""
    async with store.tables.view() as view:
        assert view is None


async def test_a_view_holds_every_table_of_every_month(tables: Tables) -> None:
    """Unless some are named, which are then all that it holds."""
    assert (
        await tables.commit(batch(0, 1, cells={CELL: 1, HOUR: 1, ("2025-01-01", "leads|source=fair"): 2}))
        == Committed()
    )
    async with tables.view() as view:
        assert view is not None
        months = ("2025-01", "2026-10")
        assert set(view.snapshot.tables) == {kind + month for month in months for kind in (MONTH, DAYS, HOURS)}
        assert view.snapshot == await shown(tables, *view.snapshot.tables)
    async with tables.view([MONTH + "2026-10"]) as view:
        assert view is not None
        assert view.snapshot.tables == {MONTH + "2026-10": {"leads|source=web": 1}}


async def test_a_view_stays_at_its_instant(tables: Tables) -> None:
    """Records that are changed, removed, made, or removed and made again later are shown as they were."""
    await fill(tables, 0, {"lead:kept": b"k", "lead:changed": b"c1", "lead:removed": b"r", "lead:again": b"a1"})
    before = await shown(tables)
    async with tables.view([]) as view:
        assert view is not None
        await fill(tables, 1, {"lead:changed": b"c2", "lead:removed": None, "lead:made": b"m", "lead:again": None})
        await fill(tables, 2, {"lead:changed": b"c3", "lead:again": b"a2"})
        assert await scanned(view, LEAD) == {
            "lead:kept": b"k",
            "lead:changed": b"c1",
            "lead:removed": b"r",
            "lead:again": b"a1",
        }
        assert await view.read(["lead:changed", "lead:made", "lead:removed", "lead:never"]) == {
            "lead:changed": b"c1",
            "lead:made": None,
            "lead:removed": b"r",
            "lead:never": None,
        }
        assert view.snapshot == before


async def test_kinds_do_not_mix(tables: Tables) -> None:
    """A kind is the whole prefix; ids may hold what a pattern would take for something else."""
    records = {
        f"{kind}{key}": key.encode() for kind in (LEAD, QUOTE_STAND_IN, ACCOUNT) for key in ("a", "*", "[b]?", "\\")
    }
    await fill(tables, 0, records)
    async with tables.view([]) as view:
        assert view is not None
        for kind in (LEAD, QUOTE_STAND_IN, ACCOUNT):
            assert await scanned(view, kind) == {ref: key for ref, key in records.items() if ref.startswith(kind)}
        assert await scanned(view, ACCOUNT, QUOTE_STAND_IN) == {
            ref: key for ref, key in records.items() if not ref.startswith(LEAD)
        }


async def test_a_namespace_may_look_like_a_pattern(redis_url: str, namespace: str) -> None:
    """Records of another namespace that the first one's name would match as a pattern are not shown."""
    for name in (f"{namespace}?", f"{namespace}x"):
        tables = RedisTables(connect(redis_url), name)
        await tables.open(DEFINITIONS)
        await tables.start_at(TOPIC, 0, 0)
        await fill(tables, 0, {f"lead:{name}": b"x"})
        await tables.close()
    tables = RedisTables(connect(redis_url), f"{namespace}?")
    async with tables.view([]) as view:
        assert view is not None
        assert await scanned(view, LEAD) == {f"lead:{namespace}?": b"x"}
    await tables.close()


class Writers:
    """Two clients that commit without a pause, each on its own partition and its own records, and what they committed."""

    def __init__(self, store: Store, seed: int) -> None:
        self._store = store
        self._chance = random.Random(seed)
        first = {f"lead:{number}": b"0" for number in range(MANY)}
        self._history: list[list[Mapping[str, bytes | None]]] = [[first], []]
        self._stopping = False

    async def __aenter__(self) -> Self:
        await fill(self._store.tables, 0, self._history[0][0])
        self._tasks = [asyncio.create_task(self._write(partition)) for partition in range(2)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _write(self, partition: int) -> None:
        client, history = self._store.client(), self._history[partition]
        await client.open(DEFINITIONS)
        await client.start_at(TOPIC, partition, 0)
        while not self._stopping:
            numbers = [self._chance.randrange(MANY // 2 + 500) for _ in range(self._chance.choice([1, 50, 3000]))]
            records = {
                f"lead:{2 * number + partition}": self._chance.choice([None, b"x", self._chance.randbytes(9)])
                for number in numbers
            }
            commit = batch(
                len(history),
                len(history) + 1,
                partition,
                seen={ref: (record or b"")[:VERSION_BYTES] for ref, record in (await client.load(records)).items()},
                writes=records,
            )
            history.append(records)  # before it is known to be in: a view may show it as soon as it is
            assert await client.commit(commit) == Committed()
            await asyncio.sleep(0)

    def records_at(self, snapshot: Snapshot) -> dict[str, bytes]:
        """Tell what was there after so many commits of each partition."""
        records: dict[str, bytes | None] = {}
        for partition, history in enumerate(self._history):
            for written in history[: snapshot.offsets.get(f"{TOPIC}:{partition}", 0)]:
                records |= written
        return {ref: record for ref, record in records.items() if record is not None}


@pytest.mark.parametrize("seed", range(3))
async def test_views_are_exact_while_others_commit(store: Store, tables: Tables, seed: int) -> None:
    """Whatever two writers do while it is read, a view is what was there when it was opened; two views are two instants."""
    del tables  # opened
    async with Writers(store, seed) as writers, store.tables.view([]) as first:
        await asyncio.sleep(0.05)
        async with store.tables.view([]) as second:
            assert first is not None
            assert second is not None
            await asyncio.sleep(0.05)
            one, two = await asyncio.gather(scanned(first, LEAD), scanned(second, LEAD))
            assert await second.read(list(two)) == two
        assert sum(first.snapshot.offsets.values()) < sum(second.snapshot.offsets.values())
        assert one == writers.records_at(first.snapshot)
        assert two == writers.records_at(second.snapshot)


async def test_a_closed_view_leaves_nothing_behind(in_redis: RedisStore) -> None:
    """Commits after it write no journal, and no key of it is left."""
    await in_redis.tables.open(DEFINITIONS)
    await in_redis.tables.start_at(TOPIC, 0, 0)
    keys = set(await in_redis.dump())
    async with in_redis.tables.view():
        pass
    assert set(await in_redis.dump()) == keys
    await fill(in_redis.tables, 0, {"lead:L": b"x"})
    assert set(await in_redis.dump()) == {*keys, in_redis.layout.record("lead:L")}


async def _journals(in_redis: RedisStore) -> Collection[bytes]:
    journals: Collection[bytes] = await in_redis.redis.hkeys(in_redis.layout.journals)
    return journals


async def test_the_journal_of_a_reader_that_died_ends(in_redis: RedisStore) -> None:
    """It expires by itself, and the next commit forgets it."""
    await in_redis.tables.open(DEFINITIONS)
    await in_redis.tables.start_at(TOPIC, 0, 0)
    async with in_redis.tables.view():
        (token,) = await _journals(in_redis)
        journal = in_redis.layout.journal(token.decode())
        assert 0 < await in_redis.redis.ttl(journal) <= JOURNAL_SECONDS
        await in_redis.redis.delete(journal)
        await fill(in_redis.tables, 0, {"lead:L": b"x"})
        assert await _journals(in_redis) == []
        assert not await in_redis.redis.exists(journal)


async def test_a_view_of_tables_that_were_lost_says_so(in_redis: RedisStore) -> None:
    """Where the tables are emptied and made anew meanwhile, nothing is shown as if it were the old instant."""
    await in_redis.tables.open(DEFINITIONS)
    await in_redis.tables.start_at(TOPIC, 0, 0)
    await fill(in_redis.tables, 0, {"lead:L": b"x"})
    async with in_redis.tables.view() as view:
        assert view is not None
        await in_redis.lose()
        await in_redis.tables.open(DEFINITIONS)
        await in_redis.tables.start_at(TOPIC, 0, 0)
        await fill(in_redis.tables, 0, {"lead:L": b"y"})
        with pytest.raises(ViewLostError, match="Ask again"):
            await scanned(view, LEAD)
        with pytest.raises(ViewLostError):
            await view.read(["lead:L"])


async def test_a_conflict_is_not_journalled(in_redis: RedisStore) -> None:
    """Only what is committed is."""
    await in_redis.tables.open(DEFINITIONS)
    await in_redis.tables.start_at(TOPIC, 0, 0)
    async with in_redis.tables.view():
        (token,) = await _journals(in_redis)
        await in_redis.tables.commit(batch(0, 1, seen={"lead:L": b"12345678"}, writes={"lead:L": b"x"}))
        await in_redis.tables.commit(batch(9, 10, seen={"lead:L": b""}, writes={"lead:L": b"x"}))
        assert await in_redis.redis.llen(in_redis.layout.journal(token.decode())) == 1


async def test_a_commit_of_many_records_is_journalled_whole(store: Store, tables: Tables) -> None:
    """Also those beyond what one command of the script can take."""
    await fill(tables, 0, {f"lead:{number}": b"old" for number in range(MANY)})
    async with store.tables.view([]) as view:
        assert view is not None
        await fill(tables, 1, {f"lead:{number}": None if number % 2 else b"new" for number in range(MANY)})
        assert await scanned(view, LEAD) == {f"lead:{number}": b"old" for number in range(MANY)}


async def test_a_view_that_is_read_goes_on(in_redis: RedisStore) -> None:
    """Its journal expires only where nobody reads, however long reading takes."""
    await in_redis.tables.open(DEFINITIONS)
    async with in_redis.tables.view() as view:
        assert view is not None
        (token,) = await _journals(in_redis)
        journal = in_redis.layout.journal(token.decode())
        await in_redis.redis.expire(journal, 2)
        await view.read(["lead:L"])
        assert await in_redis.redis.ttl(journal) > 2


async def test_a_repeated_read_shows_nothing_of_another_instant(own: RedisStore) -> None:
    """Redis hangs, the client gives up and asks again, and both requests are carried out: what the first took is lost."""
    await own.tables.open(DEFINITIONS)
    await own.tables.start_at(TOPIC, 0, 0)
    await fill(own.tables, 0, {"lead:L": b"old"})
    options = own.redis.connection_pool.connection_kwargs
    url = f"redis://:{options['password']}@{options['host']}:{options['port']}"
    impatient = RedisTables(connect(url, timeout=0.3), own.namespace)
    async with impatient.view([]) as view:
        assert view is not None
        await fill(own.tables, 1, {"lead:L": b"new"})
        process = (await own.redis.info("server"))["process_id"]
        os.kill(process, signal.SIGSTOP)
        asyncio.get_running_loop().call_later(0.6, os.kill, process, signal.SIGCONT)
        with pytest.raises(ViewLostError):
            await view.read(["lead:L"])
    await impatient.close()


async def test_a_journal_does_not_fill_redis(own: RedisStore) -> None:
    """A reader that does not keep up loses its view; the commits go on."""
    await own.tables.open(DEFINITIONS)
    await own.tables.start_at(TOPIC, 0, 0)
    large = [bytes([number]) * 8_000_000 for number in range(2)]
    await fill(own.tables, 0, {"account:A": large[0]})
    async with own.tables.view([]) as view:
        assert view is not None
        for number in range(1, 12):
            await fill(own.tables, number, {"account:A": large[number % 2]})
        assert [key async for key in own.redis.scan_iter(match="*:journal*")] == []
        with pytest.raises(ViewLostError):
            await view.read(["account:A"])


async def test_a_view_whose_opening_is_cancelled_leaves_nothing_behind(in_redis: RedisStore) -> None:
    """Whenever that is."""
    await in_redis.tables.open(DEFINITIONS)
    keys = set(await in_redis.dump())

    async def look() -> None:
        async with in_redis.tables.view() as view:
            assert view is not None
            await view.read(["lead:L"])

    for number in range(150):
        task = asyncio.create_task(look())
        await asyncio.sleep(number / 50_000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert set(await in_redis.dump()) == keys


async def test_reads_of_one_view_at_once_are_exact(store: Store, tables: Tables) -> None:
    """Each has what the journal gave to any of them."""
    await fill(tables, 0, {"lead:A": b"old", "lead:B": b"old"})
    async with store.tables.view([]) as view:
        assert view is not None
        await fill(tables, 1, {"lead:A": b"new", "lead:B": b"new"})
        read = await asyncio.gather(*(view.read([ref]) for ref in ("lead:A", "lead:B", "lead:A", "lead:B")))
        assert [content for each in read for content in each.values()] == [b"old"] * 4
