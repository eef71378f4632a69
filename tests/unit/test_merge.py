"""Merging again what has to do with records that changed meanwhile, and nothing else."""

from collections.abc import Collection, Sequence
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from salesfx import fold as fold_module
from salesfx.decoder import Event, decode
from salesfx.fold import AccountFullError, Fold, Outcome
from salesfx.refusal import Refused
from salesfx.rules import Rules
from salesfx.tables.layout import VERSION_BYTES
from salesfx.tables.store import Commit, Range
from streams import merge as merge_module
from streams.merge import Merge
from tests.events_strategy import DEFINITIONS, events
from tests.folding import FoldedTables
from tests.unit.test_processor import deal, lead, quote

RULES = Rules(DEFINITIONS)
Messages = list[tuple[str, bytes]]
SOME = st.lists(events, max_size=10)


class Stored:
    """Records of a plain fold as a store gives them: with versions, here their contents' beginnings."""

    def __init__(self, messages: Messages) -> None:
        self.folded = FoldedTables(RULES)
        self.folded.fold(_decoded(messages))
        self.reads: list[set[str]] = []
        self._versions: dict[str, bytes] = {}

    async def load(self, refs: Collection[str]) -> dict[str, bytes | None]:
        """Read records."""
        self.reads.append(set(refs))
        found = {}
        for ref in refs:
            record = self.folded.records.get(ref)
            found[ref] = None if record is None else self._versions.get(ref, bytes(VERSION_BYTES)) + record
        return found

    def take(self, messages: Messages, version: bytes = b"12345678") -> set[str]:
        """Have another worker commit; name the records that it changes."""
        before = dict(self.folded.records)
        self.folded.fold(_decoded(messages))
        after = self.folded.records
        changed = {ref for ref in before.keys() | after.keys() if before.get(ref) != after.get(ref)}
        self._versions.update(dict.fromkeys(changed, version))
        return changed

    def merge(self, messages: Messages, onto: Commit | None = None) -> Merge:
        """Begin to merge a batch."""
        return Merge(self, RULES, _decoded(messages), onto)  # type: ignore[arg-type]


def _decoded(messages: Messages) -> list[Event]:
    decoded = []
    for offset, (topic, value) in enumerate(messages):
        try:
            decoded.append(decode(topic, value, offset=offset))
        except Refused:
            continue
    return decoded


def _compared(outcome: Outcome) -> tuple[object, ...]:
    rejections = sorted((each.event.standing.offset, each.refused.reason) for each in outcome.rejections)
    return outcome.writes, outcome.cells, rejections


async def _compared_or_full(merge: Merge) -> tuple[object, ...] | None:
    try:
        return _compared(await merge.outcome())
    except AccountFullError:
        return None


@settings(max_examples=300, deadline=None)
@given(SOME, SOME, st.lists(SOME, max_size=3))
@example([], [("quote_sent", quote(1)), ("lead_created", lead(0))], [[("deal_closed", deal(1, lead_id="L0"))]])
async def test_merging_again_what_changed_comes_to_what_merging_all_again_does(
    before: Messages, ours: Messages, theirs: Sequence[Messages]
) -> None:
    """Whatever others commit in between, and however often."""
    stored = Stored(before)
    merge = stored.merge(ours)
    await merge.outcome()
    for messages in theirs:
        changed = stored.take(messages)
        merge.note_changed(changed & merge.versions.keys())
        await merge.outcome()
    anew = stored.merge(ours)
    assert _compared(await merge.outcome()) == _compared(await anew.outcome())
    assert {ref: merge.versions[ref] for ref in anew.versions} == anew.versions


@settings(max_examples=200, deadline=None)
@given(SOME, SOME, SOME, st.sampled_from([1, 2]))
@example(
    [("deal_closed", deal(9, lead_id="L9", account_id="A"))],
    [("deal_closed", deal(1, lead_id="L1")), ("deal_closed", deal(9, revision=1, retracted=True))],
    [("lead_created", lead(1, account_id="A"))],
    1,
)
async def test_merging_again_refuses_what_merging_all_again_does(
    before: Messages, ours: Messages, theirs: Messages, most: int
) -> None:
    """Leads and accounts may be full: by what others commit, and not where another event of the batch makes room."""
    with patch.object(fold_module, "MAX_ENTITIES", most):
        stored = Stored(before)
        merge = stored.merge(ours)
        await _compared_or_full(merge)
        changed = stored.take(theirs)
        merge.note_changed(changed & merge.versions.keys())
        assert await _compared_or_full(merge) == await _compared_or_full(stored.merge(ours))


@settings(max_examples=200, deadline=None)
@given(SOME, SOME, SOME, SOME)
async def test_what_was_merged_onto_a_commit_follows_what_became_of_it(
    before: Messages, first: Messages, meanwhile: Messages, ours: Messages
) -> None:
    """The batch before was merged again after a conflict, and what it writes is another: ours comes out right all the same."""
    stored = Stored(before)
    ranges = (Range("lead_created", 0, 0, 1),)
    onto = Commit(ranges, writes=(await stored.merge(first).outcome()).writes)
    merge = stored.merge(ours, onto)
    await merge.outcome()
    stored.take(meanwhile, b"theirs..")
    got_in = Commit(ranges, writes=(await stored.merge(first).outcome()).writes)
    stored.take(first, got_in.version)
    assert merge.rests_on(got_in)
    # What the others changed shows at our own commit.
    seen = {ref: (record or b"")[:VERSION_BYTES] for ref, record in (await stored.load(list(merge.versions))).items()}
    merge.note_changed(ref for ref, version in merge.versions.items() if version != seen[ref])
    anew = stored.merge(ours)
    assert _compared(await merge.outcome()) == _compared(await anew.outcome())


async def test_only_what_changed_is_read_and_merged_again() -> None:
    """A batch of many leads shares one with another worker: that one is merged again, with what lives under it."""
    stored = Stored([])
    ours = [("quote_sent", quote(number, lead_id=f"L{number}")) for number in range(50)]
    merge = stored.merge(ours)
    await merge.outcome()
    stored.reads.clear()
    merge.note_changed(stored.take([("lead_created", lead(7))]))
    with patch.object(merge_module, "Fold", wraps=Fold) as folds:
        outcome = await merge.outcome()
    assert stored.reads == [{"lead:L7"}]
    assert {event.key for call in folds.call_args_list for event in call.args[0]} == {"Q7"}
    assert outcome.cells == (await stored.merge(ours).outcome()).cells


async def test_a_lead_that_got_an_account_of_the_batch_draws_that_in() -> None:
    """Others have given it the account that another event of ours is about: both are merged again, as one."""
    stored = Stored([])
    ours = [
        ("deal_closed", deal(1, lead_id="L1")),
        ("deal_closed", deal(2, lead_id="L3", account_id="A", occurred_at="2026-03-07T10:00:00Z")),
    ]
    merge = stored.merge(ours)
    await merge.outcome()
    changed = stored.take([("lead_created", lead(1, account_id="A"))])
    assert changed == {"lead:L1"}
    merge.note_changed(changed)
    outcome = await merge.outcome()
    assert _compared(outcome) == _compared(await stored.merge(ours).outcome())
    assert outcome.cells["2026-03-07", "booked_sales|category=expansion"] == 1


def test_a_commit_of_another_batch_is_none_to_rest_on() -> None:
    """What was merged onto it is of no use then."""
    onto, other = (Commit((Range("lead_created", 0, 0, after),)) for after in (1, 2))
    merge = Stored([]).merge([], onto)
    assert not merge.rests_on(other)
    assert not merge.rests_on(None)
    assert merge.rests_on(Commit(onto.ranges))
