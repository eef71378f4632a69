"""The way of one batch, where a real server cannot be made to fail at will."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from redis.exceptions import ConnectionError as RedisAwayError

from salesfx import fold
from salesfx.audit.recomputation import recomputed_cells
from salesfx.definitions import Definitions
from salesfx.errors import SalesfxError
from salesfx.fold import TornReadError
from salesfx.kpi import Cells
from salesfx.refusal import Reason
from salesfx.rules import Rules
from salesfx.tables import MemoryTables
from salesfx.tables.layout import DAYS, HOURS, to_cells
from salesfx.tables.store import Answer, Commit, Committed, Conflict, DefinitionsChangedError, Elsewhere
from streams import agents, arrivals
from streams.agents import BatchHandler
from streams.batch import SMALL_BATCH, Batch, Partition
from streams.dead_letters import DeadLetter
from streams.processor import Processor
from tests.processing import handle, process

DEFINITIONS = Definitions()
TOPICS = {"x.lead_created": "lead_created", "x.quote_sent": "quote_sent", "x.deal_closed": "deal_closed"}
LEADS, QUOTES, DEALS = (Partition(name, 0) for name in TOPICS)
SECOND_OF_LEADS = Partition(LEADS.topic, 1)


class Tables(MemoryTables):
    """Tables in memory that notice what is asked of them, and in which a test can meddle before a commit is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[set[str]] = []
        self.commits: list[Commit] = []
        self.answers: list[Answer] = []
        self.before_commit: list[Callable[[], object]] = []
        """Called once each, before one commit each."""
        self.after_load: list[Callable[[], object]] = []
        """Called once each, after one read each."""
        self.replies_to_lose = 0

    async def load(self, refs: Collection[str]) -> dict[str, bytes | None]:
        """Note what is read."""
        self.reads.append(set(refs))
        found = await super().load(refs)
        if self.after_load:
            meddling: Any = self.after_load.pop(0)()
            if meddling is not None:
                await meddling
        return found

    async def commit(self, commit: Commit) -> Answer:
        """Note the commit, and lose its answer where that is wanted."""
        if self.before_commit:
            meddling: Any = self.before_commit.pop(0)()
            if meddling is not None:
                await meddling
        self.commits.append(commit)
        answer = await super().commit(commit)
        self.answers.append(answer)
        if self.replies_to_lose:
            self.replies_to_lose -= 1
            raise RedisAwayError("the answer was lost")
        return answer

    def cells(self) -> Cells:
        """Give all cells."""
        return to_cells((name, table) for name, table in self.data.tables.items() if name.startswith((DAYS, HOURS)))


class Letters:
    """A letter box that may be shut."""

    def __init__(self) -> None:
        self.sent: list[DeadLetter] = []
        self.shut = 0

    async def send(self, letters: Collection[DeadLetter]) -> None:
        """Take letters."""
        if self.shut:
            self.shut -= 1
            raise KafkaError("the letter box is shut")
        self.sent += letters


class Steering:
    """Notes what is to be read again."""

    def __init__(self) -> None:
        self.epochs: Counter[Partition] = Counter()
        self.again: list[tuple[Partition, str]] = []

    def is_current(self, batch: Batch) -> bool:
        """Tell whether the batch was read since the last seek."""
        return batch.epoch == self.epochs[batch.source]

    def read_again(self, partition: Partition, why: str) -> None:
        """Note it."""
        self.epochs[partition] += 1
        self.again.append((partition, why))


class Ended(BaseException):
    """In place of the end of the process; carries the error."""


class Bench:
    """A processor and a handler over fakes."""

    def __init__(self) -> None:
        self.tables, self.letters, self.steering = Tables(), Letters(), Steering()
        self.processor = Processor(self.tables, Rules(DEFINITIONS), self.letters, TOPICS)
        self.handler = BatchHandler(self.processor, self.steering)  # type: ignore[arg-type]

    async def open(self) -> "Bench":
        """Begin with empty tables, every partition at 0."""
        await self.tables.open(DEFINITIONS)
        for topic in TOPICS.values():
            await self.tables.start_at(topic, 0, 0)
        return self

    def offset(self, topic: str) -> int:
        """Give a partition's stored offset."""
        return self.tables.data.offsets[f"{topic}:0"]


async def beside(bench: Bench) -> Bench:
    """Set up another worker of the same tables."""
    other = Bench()
    other.tables.data = bench.tables.data
    await other.tables.open(DEFINITIONS)
    return other


@pytest.fixture
async def bench() -> Bench:
    """Open tables on a bench."""
    return await Bench().open()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once, and raise where the process would end."""
    monkeypatch.setattr(agents, "_FIRST_PAUSE", 0)

    def end(error: BaseException) -> None:
        raise Ended(error)

    monkeypatch.setattr(agents, "end_process", end)


def record(source: Partition, offset: int, value: bytes | None) -> Any:
    """Make what aiokafka gives."""
    return SimpleNamespace(
        topic=source.topic,
        partition=source.partition,
        offset=offset,
        value=value,
        key=b"k",
        headers=(),
        timestamp=1_700_000_000_000,
    )


def batch(
    source: Partition, before: int, values: Sequence[bytes | None], *, after: int | None = None, epoch: int = 0
) -> Batch:
    """Make a batch of records that follow one another."""
    records = [record(source, before + number, value) for number, value in enumerate(values)]
    return Batch(source, before, before + len(values) if after is None else after, records, epoch)


def lead(number: int, **fields: Any) -> bytes:
    """Write a lead_created."""
    event = {"event_id": f"l{number}", "occurred_at": "2026-03-04T10:00:00Z", "lead_id": f"L{number}", "source": "web"}
    return json.dumps(event | fields).encode()


def quote(number: int, **fields: Any) -> bytes:
    """Write a quote_sent."""
    event = {"event_id": f"q{number}", "occurred_at": "2026-03-05T10:00:00Z", "quote_id": f"Q{number}", "lead_id": "L0"}
    return json.dumps(event | {"amount": "10", "currency": "EUR", "need": "n"} | fields).encode()


def deal(number: int, **fields: Any) -> bytes:
    """Write a deal_closed."""
    event = {"event_id": f"d{number}", "occurred_at": "2026-03-06T10:00:00Z", "deal_id": f"D{number}", "outcome": "won"}
    return json.dumps(event | {"amount": "10", "currency": "EUR"} | fields).encode()


def reference(**values: list[bytes]) -> Cells:
    """Compute the tables of events by topic."""
    return recomputed_cells([(topic, value) for topic, events in values.items() for value in events], DEFINITIONS)


async def test_a_commit_whose_answer_was_lost_is_not_applied_twice(bench: Bench) -> None:
    """The commit got through, its answer did not: it is tried again, finds the offset already there, and all goes on."""
    events = [lead(number) for number in range(5)]
    bench.tables.replies_to_lose = 1
    await handle(bench.handler, batch(LEADS, 0, events[:3]))
    assert bench.tables.answers == [Committed(), Elsewhere(3)]
    assert bench.handler.trouble == "ConnectionError: the answer was lost"
    await handle(bench.handler, batch(LEADS, 3, events[3:]))
    assert bench.steering.again == []
    assert bench.tables.cells() == reference(lead_created=events)
    assert bench.tables.data.counters["processed|lead_created"] == 5


async def test_a_batch_that_begins_elsewhere_has_its_partition_read_again(bench: Bench) -> None:
    """Before and after the stored offset alike; nothing of the batch is in, and its events are not lost."""
    for before in (2, 7):
        await handle(bench.handler, batch(LEADS, before, [lead(1)], epoch=bench.steering.epochs[LEADS]))
    assert bench.steering.again == [
        (LEADS, "stored is 0, the batch begins at 2"),
        (LEADS, "stored is 0, the batch begins at 7"),
    ]
    assert bench.tables.cells() == {}


async def test_tables_that_lost_everything_have_the_partition_read_again(bench: Bench) -> None:
    """After a FLUSHALL no offset is stored, which is no reason to begin anywhere."""
    bench.tables.data.clear()
    await handle(bench.handler, batch(LEADS, 0, [lead(1)]))
    assert bench.steering.again == [(LEADS, "stored is None, the batch begins at 0")]
    assert bench.tables.data.offsets == {}


async def test_a_stale_batch_is_dropped_without_a_word_to_the_tables(bench: Bench) -> None:
    """A batch that was read before the partition's last seek is neither decoded nor committed."""
    bench.steering.epochs[LEADS] = 3
    await handle(bench.handler, batch(LEADS, 0, [lead(1), b"no json"], epoch=2))
    assert not bench.tables.reads
    assert not bench.tables.commits
    assert not bench.letters.sent
    await handle(bench.handler, batch(LEADS, 0, [lead(1)], epoch=3))
    assert bench.offset("lead_created") == 1


async def test_a_batch_that_becomes_stale_while_it_is_tried_again_is_dropped(bench: Bench) -> None:
    """Where the partition is to be read from elsewhere meanwhile, the tries end."""
    bench.tables.replies_to_lose = 100

    def seek_meanwhile() -> None:
        bench.steering.epochs[LEADS] += 1

    bench.tables.before_commit = [lambda: None, lambda: None, seek_meanwhile]
    await handle(bench.handler, batch(LEADS, 0, [lead(1)]))
    assert len(bench.tables.commits) == 3


async def test_records_changed_meanwhile_are_read_and_merged_again(bench: Bench) -> None:
    """Another worker's commits come between reading and committing, twice: the tables are exact all the same.

    Only what was changed is read again.
    """
    other = await beside(bench)
    quotes, deals = [quote(1), quote(2, occurred_at="2026-03-07T10:00:00Z")], [deal(1, lead_id="L0", account_id="A")]
    leads = [lead(0), lead(1), lead(2, account_id="A")]
    bench.tables.before_commit = [
        lambda: process(other.processor, batch(QUOTES, 0, list(quotes))),
        lambda: process(other.processor, batch(DEALS, 0, list(deals))),
    ]
    assert await process(bench.processor, batch(LEADS, 0, list(leads))) is None
    assert [type(answer) for answer in bench.tables.answers] == [Conflict, Conflict, Committed]
    assert bench.tables.reads == [{"lead:L0", "lead:L1", "lead:L2"}, {"lead:L0"}, {"lead:L0"}, {"account:A"}]
    assert bench.tables.cells() == reference(lead_created=leads, quote_sent=quotes, deal_closed=deals)


@pytest.mark.parametrize("revision", [0, 2], ids=["a tie", "a move"])
async def test_a_quote_that_moves_between_two_reads_is_read_again(bench: Bench, revision: int) -> None:
    """Its record says where it lives, and another worker moves it before that lead is read: not a defect, a conflict.

    Both where the batch's version wins, and takes it out of the lead that it leaves, and where a tie is to be broken.
    """
    other = await beside(bench)
    first, moved, ours = quote(1), quote(1, revision=1, lead_id="L1"), quote(1, revision=revision, lead_id="L2")
    await process(other.processor, batch(QUOTES, 0, [first]))
    bench.tables.data.offsets["quote_sent:1"] = 0
    again = Partition(QUOTES.topic, 1)
    bench.tables.after_load = [lambda: process(other.processor, batch(QUOTES, 1, [moved]))]
    await handle(bench.handler, batch(again, 0, [ours]))
    assert bench.steering.again == []
    assert bench.tables.data.offsets["quote_sent:1"] == 1
    assert bench.tables.cells() == reference(quote_sent=[first, moved, ours])


async def test_records_that_contradict_each_other_for_good_are_a_defect(bench: Bench) -> None:
    """Somebody has written to Redis: reading again does not help, and must not go on for ever."""
    await process(bench.processor, batch(QUOTES, 0, [quote(1)]))
    del bench.tables.data.records["lead:L0"]
    bench.tables.data.offsets["quote_sent:1"] = 0
    with pytest.raises(TornReadError, match="quote:Q1 lives under lead:L0, which does not hold it"):
        await process(bench.processor, batch(Partition(QUOTES.topic, 1), 0, [quote(1, revision=1, lead_id="L1")]))


async def test_no_event_is_refused_for_a_place_that_it_has(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account is exactly full; a deal of it moves between two reads, so that it seems to be told of it twice."""
    monkeypatch.setattr(fold, "MAX_ENTITIES", 2)
    other = await beside(bench)
    first = [deal(1, lead_id="L1", account_id="A"), deal(2, lead_id="L2", account_id="A")]
    moved, ours = (deal(1, revision=number, lead_id=f"L{number + 2}", account_id="A") for number in (1, 2))
    await process(other.processor, batch(DEALS, 0, list(first)))
    bench.tables.data.offsets["deal_closed:1"] = 0
    bench.tables.after_load = [lambda: None, lambda: process(other.processor, batch(DEALS, 2, [moved]))]
    await handle(bench.handler, batch(Partition(DEALS.topic, 1), 0, [ours]))
    assert bench.letters.sent == []
    assert bench.tables.cells() == reference(deal_closed=[*first, moved, ours])


async def test_no_event_is_refused_for_a_place_that_its_lead_has(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full lead's only deal is withdrawn after it was read for another: that one has a place, and no letter."""
    monkeypatch.setattr(fold, "MAX_ENTITIES", 1)
    other = await beside(bench)
    first, withdrawn, ours = deal(1, lead_id="L1"), deal(1, revision=1, retracted=True), deal(2, lead_id="L1")
    await process(other.processor, batch(DEALS, 0, [first]))
    bench.tables.data.offsets["deal_closed:1"] = 0
    bench.tables.after_load = [lambda: process(other.processor, batch(DEALS, 1, [withdrawn]))]
    await handle(bench.handler, batch(Partition(DEALS.topic, 1), 0, [ours]))
    assert bench.letters.sent == []
    assert bench.tables.cells() == reference(deal_closed=[first, withdrawn, ours])


async def test_a_place_that_is_freed_before_the_refusal_is_committed_is_taken(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was refused on what is not so any more is merged after all; its letter stands, and says what was so then."""
    monkeypatch.setattr(fold, "MAX_ENTITIES", 1)
    other = await beside(bench)
    first, withdrawn = deal(1, lead_id="L1", account_id="A"), deal(1, revision=1, retracted=True)
    ours = deal(2, lead_id="L2", account_id="A")
    await process(other.processor, batch(DEALS, 0, [first]))
    bench.tables.data.offsets["deal_closed:1"] = 0
    bench.tables.before_commit = [lambda: process(other.processor, batch(DEALS, 1, [withdrawn]))]
    await handle(bench.handler, batch(Partition(DEALS.topic, 1), 0, [ours]))
    assert bench.tables.cells() == reference(deal_closed=[first, withdrawn, ours])
    assert len(bench.letters.sent) == 1


async def test_a_place_that_the_same_batch_frees_is_taken_after_a_conflict_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others give a lead the full account that the batch withdraws a deal from: the batch fits, so nothing is refused."""
    monkeypatch.setattr(fold, "MAX_ENTITIES", 1)
    other = await beside(bench)
    first, withdrawn = deal(9, lead_id="L9", account_id="A"), deal(9, revision=1, retracted=True)
    ours, named = deal(1, lead_id="L1"), lead(1, account_id="A")
    await process(other.processor, batch(DEALS, 0, [first]))
    bench.tables.data.offsets["deal_closed:1"] = 0
    bench.tables.before_commit = [lambda: process(other.processor, batch(LEADS, 0, [named]))]
    await handle(bench.handler, batch(Partition(DEALS.topic, 1), 0, [ours, withdrawn]))
    assert bench.letters.sent == []
    assert bench.tables.cells() == reference(lead_created=[named], deal_closed=[first, withdrawn, ours])


async def test_a_batch_that_fits_is_not_halved_for_what_was_read_at_two_instants(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deal moves between two reads, so that its account seems too full for the batch, which withdraws one of it."""
    monkeypatch.setattr(fold, "MAX_ENTITIES", 2)
    other = await beside(bench)
    first = [deal(1, lead_id="L1", account_id="A"), deal(2, lead_id="L2", account_id="A")]
    moved, again = (deal(1, revision=number, lead_id=f"L{number + 2}", account_id="A") for number in (1, 2))
    ours = [deal(3, lead_id="L5", account_id="A"), deal(2, revision=1, retracted=True), again]
    await process(other.processor, batch(DEALS, 0, list(first)))
    bench.tables.data.offsets["deal_closed:1"] = 0
    bench.tables.after_load = [lambda: None, lambda: process(other.processor, batch(DEALS, 2, [moved]))]
    await handle(bench.handler, batch(Partition(DEALS.topic, 1), 0, list(ours)))
    assert bench.letters.sent == []
    assert bench.tables.cells() == reference(deal_closed=[*first, moved, *ours])


async def test_halving_after_a_conflict_sends_no_letter_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account is full only after another worker's commit; the letter of what is no event is safe by then."""
    monkeypatch.setattr(fold, "MAX_ENTITIES", 1)
    other = await beside(bench)
    bench.tables.data.offsets["deal_closed:1"] = 0
    theirs = deal(9, lead_id="L9", account_id="A")
    bench.tables.before_commit = [lambda: process(other.processor, batch(DEALS, 0, [theirs]))]
    ours = [b"no json", deal(1, lead_id="L1", account_id="A"), deal(2, lead_id="L2")]
    await handle(bench.handler, batch(Partition(DEALS.topic, 1), 0, list(ours)))
    assert [letter.record.offset for letter in bench.letters.sent] == [0, 1]


async def test_a_conflict_sends_no_letter_twice(bench: Bench) -> None:
    """What was refused is in the dead-letter topic once, though the batch is merged again."""
    other = await beside(bench)
    bench.tables.before_commit = [lambda: process(other.processor, batch(LEADS, 0, [lead(0)]))]
    values: list[bytes | None] = [quote(1), b"no json", quote(2, currency="XXX"), None]
    assert await process(bench.processor, batch(QUOTES, 0, values)) is None
    assert [type(answer) for answer in bench.tables.answers] == [Conflict, Committed]
    assert [(letter.record.offset, letter.refused.reason) for letter in bench.letters.sent] == [
        (1, Reason.NOT_JSON),
        (3, Reason.NO_VALUE),
        (2, Reason.NO_RATE),
    ]
    assert bench.tables.data.counters["processed|quote_sent"] == 1


async def test_nothing_is_committed_before_its_letters_are_safe(bench: Bench) -> None:
    """While the dead-letter topic cannot be written to, the offset stays; then letter and events are in, once."""
    bench.letters.shut = 3
    seen: list[int] = []
    bench.tables.before_commit = [lambda: seen.append(len(bench.letters.sent))]
    await handle(bench.handler, batch(LEADS, 0, [lead(1), b"no json"]))
    assert seen == [1], "the letter came before the commit"
    assert bench.letters.shut == 0
    assert bench.offset("lead_created") == 2
    assert bench.tables.data.counters["rejected|lead_created|not_json"] == 1


async def test_a_batch_without_records_moves_the_offset(bench: Bench) -> None:
    """Markers and aborted events are all there was: nothing else changes, and the lag comes to 0."""
    assert await process(bench.processor, batch(LEADS, 0, [], after=7)) is None
    assert bench.offset("lead_created") == 7
    assert bench.tables.cells() == {}
    assert bench.tables.data.counters["processed|lead_created"] == 0


async def test_offsets_have_holes(bench: Bench) -> None:
    """The batch is the range of positions, whatever the offsets of its records are."""
    records = [record(LEADS, 3, lead(1)), record(LEADS, 9, lead(2))]
    assert await process(bench.processor, Batch(LEADS, 0, 12, records, 0)) is None
    assert bench.offset("lead_created") == 12
    assert bench.tables.cells() == reference(lead_created=[lead(1), lead(2)])


@pytest.fixture
def small_accounts(monkeypatch: pytest.MonkeyPatch) -> int:
    """Have an account hold few deals and quotes."""
    most = 3
    monkeypatch.setattr("salesfx.fold.MAX_ENTITIES", most)
    return most


async def test_what_an_account_has_no_place_for_is_refused_and_all_else_counts(
    bench: Bench, small_accounts: int
) -> None:
    """The batch is halved until the events are found that are one too many; each is refused once, none of the others."""
    full = [deal(number, account_id="A") for number in range(8)]
    others = [deal(number, account_id=f"B{number}") for number in range(8, 14)]
    values: list[bytes | None] = []
    for pair in zip(full, [*others, b"no json", None], strict=True):
        values += pair
    assert await process(bench.processor, batch(DEALS, 0, values)) is None
    assert bench.offset("deal_closed") == len(values)
    refused = [letter for letter in bench.letters.sent if letter.refused.reason is Reason.TOO_MANY_ENTITIES]
    assert [letter.record.value for letter in refused] == full[small_accounts:]
    assert bench.tables.cells() == reference(deal_closed=full[:small_accounts] + others)
    counters = bench.tables.data.counters
    assert counters["rejected|deal_closed|too_many_entities"] == len(full) - small_accounts
    assert (counters["rejected|deal_closed|not_json"], counters["rejected|deal_closed|no_value"]) == (1, 1)
    assert counters["processed|deal_closed"] == small_accounts + len(others)
    assert len(bench.letters.sent) == len(full) - small_accounts + 2


@pytest.mark.parametrize("lost", range(12))
async def test_halving_that_is_cut_short_comes_to_the_same(
    bench: Bench, small_accounts: int, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """Whichever commit's answer is lost: by trying or reading again the tables and the counters come out the same."""
    values = [deal(number, account_id="A") for number in range(8)]
    commit, calls = MemoryTables.commit, iter(range(1000))

    async def losing(tables: MemoryTables, parts: Commit) -> Answer:
        answer = await commit(tables, parts)
        if next(calls) == lost:
            raise RedisAwayError("the answer was lost")
        return answer

    monkeypatch.setattr(MemoryTables, "commit", losing)
    while (before := bench.offset("deal_closed")) < len(values):
        await handle(bench.handler, batch(DEALS, before, list(values[before:]), epoch=bench.steering.epochs[DEALS]))
    assert bench.tables.cells() == reference(deal_closed=values[:small_accounts])
    assert bench.tables.data.counters["rejected|deal_closed|too_many_entities"] == len(values) - small_accounts
    assert bench.tables.data.counters["processed|deal_closed"] == small_accounts


async def test_other_definitions_end_the_worker(bench: Bench) -> None:
    """A worker whose settings mean something else never adds to the tables; somebody has to look."""
    bench.tables.data.fingerprint = "other"
    with pytest.raises(Ended) as ended:
        await handle(bench.handler, batch(LEADS, 0, [lead(1)]))
    error = ended.value.args[0]
    assert isinstance(error, DefinitionsChangedError)
    assert "fingerprint other" in str(error)
    assert bench.tables.cells() == {}


async def test_a_defect_is_healed_once_at_one_place_and_then_ends_the_worker(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At another place it is another defect; at the same one the sentence names topic, partition and offsets."""

    async def broken(*_: object) -> None:
        raise ZeroDivisionError("broken")

    monkeypatch.setattr(bench.tables, "load", broken)
    for before in (0, 5, 0):
        bench.steering.epochs.clear()
        await handle(bench.handler, batch(LEADS, before, [lead(1)]))
    assert [why for _, why in bench.steering.again] == ["its batch failed"] * 3
    bench.steering.epochs.clear()
    with pytest.raises(Ended) as ended:
        await handle(bench.handler, batch(LEADS, 0, [lead(1), lead(2)]))
    error = ended.value.args[0]
    assert isinstance(error, SalesfxError)
    assert "the events of x.lead_created[0] from offset 0 to 2 cannot be processed: ZeroDivisionError: broken" in str(
        error
    )
    assert not bench.handler.is_busy(LEADS)


async def test_a_defect_that_was_healed_is_forgotten(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same place is read again after a Redis that lost its data: failing once more there is failing once."""
    load, failures = bench.tables.load, [True, False, True, False]

    async def sometimes(refs: Collection[str]) -> dict[str, bytes | None]:
        if failures.pop(0):
            raise ZeroDivisionError("passing")
        return await load(refs)

    monkeypatch.setattr(bench.tables, "load", sometimes)
    for _ in range(2):
        for _ in range(2):
            bench.steering.epochs.clear()
            await handle(bench.handler, batch(LEADS, 0, [lead(1)]))
        assert bench.offset("lead_created") == 1
        bench.tables.data.offsets["lead_created:0"] = 0
    assert [why for _, why in bench.steering.again] == ["its batch failed"] * 2


async def test_a_partition_whose_batch_is_not_settled_is_busy(bench: Bench) -> None:
    """The watch must not take for lost what is on its way, or waits behind it."""
    partitions = [LEADS, SECOND_OF_LEADS, DEALS, QUOTES]
    busy: list[list[bool]] = []

    def look() -> None:
        busy.append([bench.handler.is_busy(partition) for partition in partitions])

    await bench.tables.start_at("lead_created", 1, 0)
    large = [lead(number) for number in range(SMALL_BATCH + 1)]
    bench.tables.before_commit = [look] * 3
    await handle(
        bench.handler, batch(LEADS, 0, large), batch(SECOND_OF_LEADS, 0, list(large)), batch(DEALS, 0, [deal(1)])
    )
    look()
    assert busy == [
        [True, True, True, False],
        [False, True, True, False],
        [False, False, True, False],
        [False, False, False, False],
    ]


# Small batches that go together.


async def test_small_batches_are_taken_to_the_tables_together(bench: Bench) -> None:
    """Read by the same commands, and committed by one, which holds the offsets of all."""
    await bench.tables.start_at("lead_created", 1, 0)
    first, second = [lead(1), lead(2)], [lead(3)]
    await handle(bench.handler, batch(LEADS, 0, first), batch(SECOND_OF_LEADS, 0, second))
    assert bench.tables.reads == [{"lead:L1", "lead:L2", "lead:L3"}]
    assert [[each.partition for each in commit.ranges] for commit in bench.tables.commits] == [[0, 1]]
    assert (bench.offset("lead_created"), bench.tables.data.offsets["lead_created:1"]) == (2, 1)
    assert bench.tables.cells() == reference(lead_created=first + second)


async def test_one_of_them_that_begins_elsewhere_does_not_stop_the_others(bench: Bench) -> None:
    """Its partition is read again; the others are in."""
    await bench.tables.start_at("lead_created", 1, 0)
    await handle(bench.handler, batch(SECOND_OF_LEADS, 7, [lead(3)]), batch(LEADS, 0, [lead(1)]))
    assert bench.offset("lead_created") == 1
    assert [partition for partition, _ in bench.steering.again] == [SECOND_OF_LEADS]
    assert bench.tables.cells() == reference(lead_created=[lead(1)])


async def test_one_of_them_that_holds_what_cannot_be_used_is_committed_after_its_letter(bench: Bench) -> None:
    """It goes by itself, so that nothing is committed before its letters are safe."""
    await bench.tables.start_at("lead_created", 1, 0)
    bench.letters.shut = 1
    await handle(bench.handler, batch(LEADS, 0, [b"nonsense", lead(1)]), batch(SECOND_OF_LEADS, 0, [lead(2)]))
    assert [letter.record.value for letter in bench.letters.sent] == [b"nonsense"]
    assert (bench.offset("lead_created"), bench.tables.data.offsets["lead_created:1"]) == (2, 1)
    assert bench.tables.cells() == reference(lead_created=[lead(1), lead(2)])


async def test_two_of_them_that_speak_of_one_lead_both_count(bench: Bench) -> None:
    """They are merged as one."""
    await bench.tables.start_at("quote_sent", 1, 0)
    second = Partition(QUOTES.topic, 1)
    await handle(bench.handler, batch(QUOTES, 0, [quote(1)]), batch(second, 0, [quote(2, amount="7")]))
    assert bench.tables.answers == [Committed()]
    assert bench.tables.cells() == reference(quote_sent=[quote(1), quote(2, amount="7")])


async def test_what_others_change_meanwhile_does_not_part_them(bench: Bench) -> None:
    """Another worker's commit comes between: they are merged again, together."""
    other = await beside(bench)
    await bench.tables.start_at("quote_sent", 1, 0)
    first, second = quote(1), quote(2, amount="7")
    bench.tables.before_commit = [lambda: process(other.processor, batch(LEADS, 0, [lead(0)]))]
    await handle(bench.handler, batch(QUOTES, 0, [first]), batch(Partition(QUOTES.topic, 1), 0, [second]))
    assert [type(answer) for answer in bench.tables.answers] == [Conflict, Committed]
    assert bench.tables.cells() == reference(lead_created=[lead(0)], quote_sent=[first, second])


async def test_an_answer_that_is_lost_is_lost_for_all_of_them(bench: Bench) -> None:
    """Each is tried again by itself, and found where it is in already."""
    await bench.tables.start_at("lead_created", 1, 0)
    bench.tables.replies_to_lose = 1
    await handle(bench.handler, batch(LEADS, 0, [lead(1)]), batch(SECOND_OF_LEADS, 0, [lead(2)]))
    assert bench.steering.again == []
    assert (bench.offset("lead_created"), bench.tables.data.offsets["lead_created:1"]) == (1, 1)
    assert bench.tables.cells() == reference(lead_created=[lead(1), lead(2)])


# Large batches, which are merged while the one before is on its way.


@pytest.fixture
def all_are_large(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no batches go together, and the first commit take a while."""
    monkeypatch.setattr(arrivals, "SMALL_BATCH", 0)
    bench.tables.before_commit = [lambda: asyncio.sleep(0.01)]


@pytest.mark.usefixtures("all_are_large")
async def test_a_batch_is_merged_onto_what_the_one_before_writes(bench: Bench) -> None:
    """A quote finds its lead in the commit that is on its way, and asks the tables for the rest only."""
    await handle(bench.handler, batch(LEADS, 0, [lead(0)]), batch(QUOTES, 0, [quote(1)]))
    assert bench.tables.reads == [{"lead:L0"}, {"quote:Q1"}]
    assert bench.tables.answers == [Committed(), Committed()]
    assert bench.tables.cells() == reference(lead_created=[lead(0)], quote_sent=[quote(1)])


@pytest.mark.usefixtures("all_are_large")
async def test_what_was_merged_onto_a_commit_that_was_refused_is_merged_again(bench: Bench) -> None:
    """Another worker's commit comes before the first: neither batch may overwrite what that brought."""
    other = await beside(bench)
    newer, older = deal(3, lead_id="L0", amount="30"), quote(2, amount="7")

    async def meddle() -> None:
        await asyncio.sleep(0.01)
        await process(other.processor, batch(DEALS, 0, [newer]))

    bench.tables.before_commit = [meddle]
    await handle(bench.handler, batch(LEADS, 0, [lead(0)]), batch(QUOTES, 0, [quote(1), older]))
    assert [type(answer) for answer in bench.tables.answers] == [Conflict, Committed, Committed]
    assert bench.tables.cells() == reference(lead_created=[lead(0)], quote_sent=[quote(1), older], deal_closed=[newer])


@pytest.mark.usefixtures("all_are_large")
async def test_what_was_merged_onto_a_commit_whose_answer_was_lost_counts_once(bench: Bench) -> None:
    """That the first batch is in is found out by its offset; the second is then merged by what the tables hold."""
    bench.tables.replies_to_lose = 1
    await handle(bench.handler, batch(LEADS, 0, [lead(0)]), batch(QUOTES, 0, [quote(1)]))
    assert [type(answer) for answer in bench.tables.answers] == [Committed, Elsewhere, Committed]
    assert bench.tables.cells() == reference(lead_created=[lead(0)], quote_sent=[quote(1)])


@pytest.mark.usefixtures("all_are_large")
async def test_what_was_merged_onto_a_batch_that_is_read_again_is_dropped_where_it_rests_on_it(bench: Bench) -> None:
    """The first batch begins elsewhere and does not get in: the second counts by itself."""
    await handle(bench.handler, batch(LEADS, 5, [lead(0)]), batch(QUOTES, 0, [quote(1)]))
    assert [partition for partition, _ in bench.steering.again] == [LEADS]
    assert bench.tables.cells() == reference(quote_sent=[quote(1)])


@pytest.mark.usefixtures("all_are_large")
async def test_what_was_merged_ahead_is_used_for_one_try(bench: Bench) -> None:
    """A try that fails may have read records again; the next one reads and merges all anew."""
    bench.letters.shut = 1
    await handle(bench.handler, batch(LEADS, 0, [lead(0)]), batch(QUOTES, 0, [quote(1), b"nonsense"]))
    assert bench.tables.reads == [{"lead:L0"}, {"quote:Q1"}, {"lead:L0", "quote:Q1"}]
    assert len(bench.letters.sent) == 1
    assert bench.tables.cells() == reference(lead_created=[lead(0)], quote_sent=[quote(1)])
