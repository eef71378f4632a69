"""What has been fetched and nobody has asked for yet."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.batch import Record
from streams.prefetched import Piece, Prefetched
from streams.transport import BatchConsumerThread

VALUE = b"{}"
FIRST, SECOND = TP("x.lead_created", 0), TP("x.lead_created", 1)


def records(partition: TP, before: int, count: int) -> list[Record]:
    """Make records that follow one another."""
    return [
        Record(partition.topic, partition.partition, before + number, 0, None, VALUE, ()) for number in range(count)
    ]


def piece(before: int, after: int, count: int | None = None) -> Piece:
    """Make a piece of the first partition."""
    return Piece(before, after, records(FIRST, before, after - before if count is None else count))


def test_pieces_that_join_up_are_one_batch() -> None:
    """The range is of positions: what is no record lies in it."""
    prefetched = Prefetched(100, 1000)
    for each in (piece(0, 3), piece(3, 9, 2), piece(9, 12, 0)):
        prefetched.add(FIRST, each)
    assert prefetched.position(FIRST) == 0
    taken = prefetched.take([FIRST, SECOND])
    assert taken == {FIRST: Piece(0, 12, records(FIRST, 0, 3) + records(FIRST, 3, 2))}
    assert prefetched.take([FIRST]) == {}
    assert prefetched.position(FIRST) is None


def test_a_batch_has_a_bound() -> None:
    """What is more stays, in its order."""
    prefetched = Prefetched(5, 1000)
    for each in (piece(0, 3), piece(3, 5), piece(5, 6)):
        prefetched.add(FIRST, each)
    assert prefetched.take([FIRST]) == {FIRST: piece(0, 5)}
    assert prefetched.position(FIRST) == 5
    assert prefetched.take([FIRST]) == {FIRST: piece(5, 6)}


def test_what_does_not_join_up_is_another_batch() -> None:
    """A batch must not cover what lies between."""
    prefetched = Prefetched(100, 1000)
    prefetched.add(FIRST, piece(0, 3))
    prefetched.add(FIRST, piece(7, 8))
    assert prefetched.take([FIRST]) == {FIRST: piece(0, 3)}
    assert prefetched.take([FIRST]) == {FIRST: piece(7, 8)}


def test_who_has_enough_is_given_no_more() -> None:
    """A partition has with a batch, and all together have with their bound."""
    prefetched = Prefetched(3, 5 * len(VALUE))
    assert prefetched.lacking([FIRST, SECOND]) == {FIRST, SECOND}
    prefetched.add(FIRST, piece(0, 3))
    assert prefetched.lacking([FIRST, SECOND]) == {SECOND}
    prefetched.add(SECOND, Piece(0, 2, records(SECOND, 0, 2)))
    assert prefetched.lacking([FIRST, SECOND]) == set()
    prefetched.take([FIRST])
    assert prefetched.lacking([FIRST, SECOND]) == {FIRST, SECOND}


def test_only_what_is_named_is_dropped() -> None:
    """A partition that is to be read from elsewhere does not take the others with it, and its room is free again."""
    prefetched = Prefetched(100, 4 * len(VALUE))
    prefetched.add(FIRST, piece(0, 3))
    prefetched.add(SECOND, Piece(5, 6, records(SECOND, 5, 1)))
    assert prefetched.lacking([FIRST, SECOND]) == set()
    prefetched.drop([FIRST])
    assert prefetched.lacking([FIRST, SECOND]) == {FIRST, SECOND}
    assert prefetched.take([FIRST, SECOND]) == {SECOND: Piece(5, 6, records(SECOND, 5, 1))}


# The thread, around an aiokafka that is none.


class Assignment:
    """Partitions with their positions, as aiokafka keeps them."""

    def __init__(self, *partitions: TP) -> None:
        self.active = True
        self.tps = set(partitions)
        self.states = {tp: SimpleNamespace(position=0, has_valid_position=True) for tp in partitions}

    def state_value(self, tp: TP) -> Any:
        """Give the state of a partition."""
        return self.states.get(tp)


class Consumer:
    """What the thread asks of aiokafka's consumer."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self._max_poll_records = 4
        self._subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
        self.fetched: dict[TP, list[Record]] = {}

    async def fetch(self, _: Any, partitions: set[TP], timeout: float, max_records: int) -> dict[TP, list[Record]]:  # noqa: ASYNC109 - Faust's
        """Give what is there of one of the partitions, and move its position."""
        assert timeout == 0
        for tp in sorted(partitions & self.fetched.keys()):
            given, rest = self.fetched[tp][:max_records], self.fetched[tp][max_records:]
            self.fetched[tp] = rest
            if given:
                self.assignment.states[tp].position = given[-1].offset + 1
                return {tp: given}
        return {}

    def assign(self, assignment: Assignment) -> None:
        """Replace the assignment."""
        self.assignment.active = False
        self.assignment = self._subscription.subscription.assignment = assignment

    def seek(self, tp: TP, offset: int) -> None:
        """Move a position."""
        self.assignment.states[tp].position = offset

    async def position(self, tp: TP) -> int:
        """Tell a position."""
        return int(self.assignment.states[tp].position)


@pytest.fixture
def consumer() -> Consumer:
    """A consumer of two partitions."""
    return Consumer(Assignment(FIRST, SECOND))


@pytest.fixture
def thread(consumer: Consumer) -> Any:
    """The thread of it, run by the test's loop."""
    made: Any = object.__new__(BatchConsumerThread)
    made._prefetched, made._assignment, made._news = Prefetched(4, 100), None, asyncio.Event()
    made._stirred = asyncio.Event()
    made._consumer, made._fetch_records = consumer, consumer.fetch
    made.log = SimpleNamespace(dev=lambda *_: None)
    made.consumer = SimpleNamespace(_read_offset={})
    made.app = SimpleNamespace(conf=SimpleNamespace(broker_request_timeout=5))

    async def call_thread(do: Any, *arguments: Any) -> Any:
        return await do(*arguments)

    made.call_thread = call_thread
    return made


async def test_what_was_fetched_is_taken_at_once(consumer: Consumer, thread: Any) -> None:
    """As far as there is room: aiokafka fetches only what it holds nothing of."""
    consumer.fetched = {FIRST: records(FIRST, 0, 10), SECOND: records(SECOND, 0, 1)}
    await thread._take_fetched(consumer)
    assert (len(consumer.fetched[FIRST]), len(consumer.fetched[SECOND])) == (6, 0)
    assert await thread.fetch_batches([FIRST], 0.01) == {FIRST: Piece(0, 4, records(FIRST, 0, 4))}
    await thread._take_fetched(consumer)
    both = await thread.fetch_batches([FIRST, SECOND], 0.01)
    assert both == {FIRST: Piece(4, 8, records(FIRST, 4, 4)), SECOND: Piece(0, 1, records(SECOND, 0, 1))}


async def test_who_asks_is_woken_by_what_comes(consumer: Consumer, thread: Any) -> None:
    """And is given nothing where nothing comes in time."""
    assert await thread.fetch_batches([FIRST], 0.01) == {}
    asking = asyncio.create_task(thread.fetch_batches([FIRST], 5.0))
    await asyncio.sleep(0)
    consumer.fetched = {FIRST: records(FIRST, 0, 1)}
    await thread._take_fetched(consumer)
    assert await asyncio.wait_for(asking, 1) == {FIRST: Piece(0, 1, records(FIRST, 0, 1))}


async def test_a_seek_drops_what_was_fetched_before_it(consumer: Consumer, thread: Any) -> None:
    """Else it would be handed over as if it had been read since."""
    consumer.fetched = {FIRST: records(FIRST, 0, 2), SECOND: records(SECOND, 0, 1)}
    await thread._take_fetched(consumer)
    await thread._seek_wait(consumer, {FIRST: 1})
    consumer.fetched[FIRST] = records(FIRST, 1, 1)
    await thread._take_fetched(consumer)
    taken = await thread.fetch_batches([FIRST, SECOND], 0.01)
    assert taken == {FIRST: Piece(1, 2, records(FIRST, 1, 1)), SECOND: Piece(0, 1, records(SECOND, 0, 1))}


async def test_another_assignment_begins_with_nothing(consumer: Consumer, thread: Any) -> None:
    """What was fetched under the one before may be another worker's by now."""
    consumer.fetched = {FIRST: records(FIRST, 0, 2)}
    await thread._take_fetched(consumer)
    consumer.assign(Assignment(FIRST))
    assert await thread.fetch_batches([FIRST], 0.01) == {}
    assert await thread.positions() == {FIRST: 0}
    await thread._take_fetched(consumer)
    assert await thread.fetch_batches([FIRST], 0.01) == {}


async def test_the_position_is_that_of_what_was_handed_over(consumer: Consumer, thread: Any) -> None:
    """What is only fetched is not on its way to the tables, and must not be missed there."""
    consumer.fetched = {FIRST: records(FIRST, 0, 2)}
    await thread._take_fetched(consumer)
    assert await thread.positions() == {FIRST: 0, SECOND: 0}
    await thread.fetch_batches([FIRST], 0.01)
    assert await thread.positions() == {FIRST: 2, SECOND: 0}
