"""What only a planted bug showed to be untested; `make mutants` plants them."""

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import pytest

from salesfx.rules import Rules
from salesfx.tables import RedisTables, Tables
from salesfx.tables.redis import SCRIPT
from salesfx.tables.store import Answer, Commit, Conflict
from streams.processor import Processor
from tests.mutants.bug import Bug
from tests.mutants.catalogue import BUGS
from tests.processing import process
from tests.stores import DEFINITIONS, RedisStore, all_cells
from tests.unit.test_processor import DEALS, QUOTES, TOPICS, Letters, batch, deal, quote, reference


class HeldUp:
    """Tables whose first commit is held up on its way."""

    def __init__(self, tables: Tables, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._tables = tables
        self._meanwhile: list[Callable[[], Awaitable[None]]] = [meanwhile]
        self.load = tables.load
        self.answers: list[Answer] = []

    async def commit(self, commit: Commit) -> Answer:
        """Let something happen, then commit."""
        if self._meanwhile:
            await self._meanwhile.pop()()
        self.answers.append(await self._tables.commit(commit))
        return self.answers[-1]


def processor(tables: Any) -> Processor:
    """Make a worker's processor."""
    return Processor(tables, Rules(DEFINITIONS), Letters(), TOPICS)


async def opened(store: RedisStore) -> RedisTables:
    """Open tables by a client of their own, every partition at 0 where it is nowhere else."""
    tables = store.client()
    await tables.open(DEFINITIONS)
    for topic in TOPICS.values():
        await tables.start_at(topic, 0, 0)
    assert isinstance(tables, RedisTables)
    return tables


async def test_a_commit_held_up_through_a_failover_is_merged_again(in_redis: RedisStore) -> None:
    """A worker has read a lead and its commit is on its way when the replica that takes over lacks the last write.

    That write is then made again, together with another event: the record has been written as often as before, and it is
    another. The worker that was held up must notice it.
    """
    quotes = [quote(number, occurred_at=f"2026-03-0{number}T10:00:00Z", amount=f"{number}00") for number in (1, 2, 3)]
    deals = [deal(1, lead_id="L0", outcome="lost", occurred_at="2026-03-02T12:00:00Z")]  # closes two of three
    one, other = await opened(in_redis), processor(await opened(in_redis))
    assert await process(other, batch(QUOTES, 0, quotes[:1])) is None
    replica = await in_redis.dump()
    assert await process(other, batch(QUOTES, 1, quotes[1:2])) is None

    async def fail_over() -> None:
        for key in (await in_redis.dump()).keys() - replica.keys():
            await in_redis.redis.delete(key)
        for key, content in replica.items():
            await in_redis.redis.restore(key, 0, content, replace=True)
        assert await process(other, batch(QUOTES, 1, quotes[1:])) is None

    held = HeldUp(one, fail_over)
    assert await process(processor(held), batch(DEALS, 0, deals)) is None
    assert await all_cells(one) == reference(quote_sent=quotes, deal_closed=deals)
    assert held.answers[0] == Conflict(["lead:L0"])


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.file.endswith(".lua")], ids=lambda bug: bug.name)
async def test_a_planted_script_compiles(in_redis: RedisStore, bug: Bug) -> None:
    """Else any test at all would catch it."""
    assert await in_redis.redis.script_load(bug.mutate(SCRIPT))


class KilledError(BaseException):
    """In place of a kill -9."""


async def test_a_worker_that_dies_at_any_command_leaves_no_event_behind(in_redis: RedisStore) -> None:
    """Before whichever command to Redis it is killed: what the next worker makes of the rest is whole, and counted once."""
    deals = [deal(number, account_id="A") for number in range(4)]
    for lived_for in count():
        await in_redis.lose()
        tables = await opened(in_redis)
        died = await _process_until_killed(tables, lived_for, batch(DEALS, 0, deals[:3]))
        successor = await opened(in_redis)
        before = (await successor.offsets())["deal_closed:0"]
        assert await process(processor(successor), batch(DEALS, before, deals[before:])) is None
        assert await all_cells(successor) == reference(deal_closed=deals), f"killed before command {lived_for}"
        snapshot = await successor.snapshot()
        assert snapshot is not None
        assert snapshot.counters["processed|deal_closed"] == len(deals), f"killed before command {lived_for}"
        if not died:
            break
    assert lived_for >= 3, "two reads and a commit, at least"


async def _process_until_killed(tables: RedisTables, commands: int, work: Any) -> bool:
    """Process a batch by a worker that is killed after so many commands; tell whether it was."""
    execute, left = tables._redis.execute_command, commands

    async def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        if not left:
            raise KilledError
        left -= 1
        return await execute(*arguments, **options)

    tables._redis.execute_command = counted
    try:
        await process(processor(tables), work)
    except KilledError:
        return True
    finally:
        tables._redis.execute_command = execute
    return False
