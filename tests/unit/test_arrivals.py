"""Which batches go to Redis together."""

import asyncio
from typing import Any

import pytest
from faust.types import TP

from streams import transport
from streams.arrivals import Arrivals
from streams.batch import SMALL_BATCH, Batch, Partition, Record
from streams.transport import BatchConsumer

TOPIC = "x.lead_created"
HALF = SMALL_BATCH // 2


def batch(partition: int, records: int) -> Batch:
    """Make a batch of so many records."""
    source = Partition(TOPIC, partition)
    return Batch(source, 0, records, [Record(TOPIC, partition, n, 0, None, b"{}", ()) for n in range(records)], 0)


async def groups_of(*batches: Batch) -> list[list[Batch]]:
    """Let batches arrive all at once, and give the groups in which they come out."""
    return [group async for group in arrived(*batches).groups()]


def arrived(*batches: Batch) -> Arrivals:
    """Let batches arrive all at once, and no further ones."""
    arrivals = Arrivals()
    for each in batches:
        arrivals.put(each)
    arrivals.end()
    return arrivals


async def test_small_batches_that_have_gathered_come_together() -> None:
    """In their order, as long as all of them are small."""
    first, second, third, fourth = batch(0, 1), batch(1, HALF), batch(2, HALF), batch(3, 1)
    assert await groups_of(first, second, third, fourth) == [[first, second], [third, fourth]]


async def test_a_large_batch_comes_alone() -> None:
    """It is worth a commit of its own, and those behind it are decoded while it is on its way."""
    small, large, other = batch(0, 1), batch(1, SMALL_BATCH + 1), batch(2, 1)
    assert await groups_of(small, large, other) == [[small], [large], [other]]


async def test_what_is_given_out_is_taken() -> None:
    """Its partition is read on from then."""
    first, large = batch(0, 1), batch(1, 5 * SMALL_BATCH)
    groups = arrived(first, large).groups()
    assert await anext(groups) == [first]
    assert (first.is_taken, large.is_taken) == (True, False)


async def test_whoever_waits_is_given_what_comes() -> None:
    """And nothing after the end."""
    arrivals, late = Arrivals(), batch(0, 1)

    async def all_groups() -> list[list[Batch]]:
        return [group async for group in arrivals.groups()]

    waiting = asyncio.create_task(all_groups())
    await asyncio.sleep(0)
    arrivals.put(late)
    arrivals.end()
    assert await asyncio.wait_for(waiting, 5) == [[late]]


async def test_batches_of_one_partition_that_follow_each_other_become_one() -> None:
    """A commit moves a partition once."""
    first, other, second = batch(0, 1), batch(1, 1), Batch(Partition(TOPIC, 0), 1, 5, batch(0, 1).records, 0)
    [[joined, beside]] = await groups_of(first, other, second)
    assert (joined.source, joined.before, joined.after) == (first.source, 0, 5)
    assert list(joined.records) == [*first.records, *second.records]
    assert beside is other
    assert second.is_taken


@pytest.mark.parametrize(("before", "epoch"), [(0, 0), (2, 0), (1, 1)], ids=["again", "a gap", "after a seek"])
async def test_batches_of_one_partition_that_do_not_follow_each_other_come_apart(before: int, epoch: int) -> None:
    """Each is refused or dropped by itself."""
    first, second = batch(0, 1), Batch(Partition(TOPIC, 0), before, before + 1, batch(0, 1).records, epoch)
    assert await groups_of(first, second) == [[first], [second]]


# Which partitions are read on.


@pytest.fixture
def consumer() -> Any:
    """A consumer of which only the choice is looked at."""
    made: Any = object.__new__(BatchConsumer)
    made._handed_over = []
    return made


def hand_over(consumer: Any, given: Batch, ago: float = 0.0) -> None:
    """Note a batch as the fetch loop does."""
    at = asyncio.get_running_loop().time() - ago
    consumer._handed_over.append((TP(*given.source), given, at))


async def test_a_partition_of_which_enough_waits_is_not_read_on(consumer: Any) -> None:
    """What comes meanwhile makes its next batch larger; the others are read, and it is again once its batch is taken."""
    waiting = batch(0, SMALL_BATCH)
    hand_over(consumer, waiting)
    partitions = [TP(TOPIC, 0), TP(TOPIC, 1)]
    assert consumer._readable(partitions) == partitions
    hand_over(consumer, batch(0, 1))
    assert consumer._readable(partitions) == [TP(TOPIC, 1)]
    waiting.is_taken = True
    assert consumer._readable(partitions) == partitions


async def test_a_batch_that_never_arrives_does_not_hold_its_partition(consumer: Any) -> None:
    """Faust drops batches at a rebalance; the partition is read on all the same."""
    hand_over(consumer, batch(0, SMALL_BATCH + 1), ago=transport._FORGOTTEN_SECONDS + 1)
    assert consumer._readable([TP(TOPIC, 0)]) == [TP(TOPIC, 0)]


async def test_what_waits_has_a_bound(consumer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many partitions a worker has: with so many records waiting, none is read on."""
    monkeypatch.setattr(transport, "MOST_WAITING", 10)
    hand_over(consumer, batch(0, 6))
    assert consumer._readable([TP(TOPIC, 2)]) == [TP(TOPIC, 2)]
    hand_over(consumer, batch(1, 6))
    assert consumer._readable([TP(TOPIC, 2)]) == []
