"""What makes up a number adds up to it, and every contribution can be given in words."""

from string import Formatter

from hypothesis import given, settings
from hypothesis import strategies as st

from salesfx.account import Statement
from salesfx.attribution import Contribution, of_account, of_lead
from salesfx.fold import decode_account, decode_lead
from salesfx.kpi import Cells, summarise
from salesfx.language import LANGUAGES, Language
from salesfx.language.reasons import REASONS
from salesfx.lead import ACCOUNT, DEAL, LEAD, QUOTE, Lead
from salesfx.reading.reasons import reasons
from salesfx.rules import Rules
from tests.events_strategy import DEFINITIONS, events
from tests.folding import FoldedTables

RULES = Rules(DEFINITIONS)
worlds = st.lists(events, max_size=14)


def folded(messages: list[tuple[str, bytes]]) -> FoldedTables:
    """Fold a world."""
    tables = FoldedTables(RULES)
    tables.take(messages)
    return tables


def leads_of(tables: FoldedTables) -> dict[str, Lead]:
    """Decode every lead and stand-in."""
    return {ref: decode_lead(record) for ref, record in tables.records.items() if ref.startswith("lead")}


def contributions(tables: FoldedTables) -> list[Contribution]:
    """Give what every lead and every account of a world contributes."""
    found: list[Contribution] = []
    for ref, lead in leads_of(tables).items():
        found += of_lead(ref, lead, RULES)
        own: Statement | None = summarise(ref, lead, RULES).statements.get(ref)
        if own is not None:
            found += of_account(ref, {ref: own}, RULES)
    for ref, record in tables.records.items():
        if ref.startswith(ACCOUNT):
            found += of_account(ref, decode_account(record).statements, RULES)
    return found


@settings(max_examples=800, deadline=None)
@given(worlds)
def test_contributions_add_up_to_the_cells(messages: list[tuple[str, bytes]]) -> None:
    """Of every world, cell by cell, hours too."""
    tables = folded(messages)
    sums: Cells = {}
    for contribution in contributions(tables):
        for cell, number in contribution.cells().items():
            sums[cell] = sums.get(cell, 0) + number
    assert {cell: number for cell, number in sums.items() if number} == tables.cells


@settings(max_examples=200, deadline=None)
@given(worlds)
def test_every_contribution_has_reasons_and_the_entities_behind_them(messages: list[tuple[str, bytes]]) -> None:
    """Each is in words of every language, names its own entity, and whatever decides it has a record that names its event."""
    tables = folded(messages)
    leads = leads_of(tables)
    for contribution in contributions(tables):
        why, deciders = reasons(contribution, leads[contribution.lead], RULES)
        for language in LANGUAGES:
            assert all(Language(language).reason(each.sentence, each.values) for each in why)
        named = [decider.entity for decider in deciders]
        assert len(named) == len(set(named))
        assert contribution.entity in named
        for ref in named:
            assert ref.startswith((LEAD, QUOTE, DEAL))
            # A lead of which only quotes and deals have come has no event of its own.
            assert ref in tables.records


@settings(max_examples=200, deadline=None)
@given(worlds)
def test_nothing_counts_twice_in_one_metric(messages: list[tuple[str, bytes]]) -> None:
    """Each lead, quote or deal contributes at most once to a metric."""
    found = [(each.metric, each.entity) for each in contributions(folded(messages))]
    assert len(found) == len(set(found))


def test_every_language_gives_every_reason_with_all_that_is_put_in() -> None:
    """No sentence is missing or left over, and none leaves out a date or a name that another has."""
    placed = [{name: places_in(sentence) for name, sentence in sentences.items()} for sentences in REASONS.values()]
    assert placed == [placed[0]] * len(LANGUAGES)


def places_in(sentence: str) -> set[str]:
    """Name what is put into a sentence."""
    return {name for _, name, _, _ in Formatter().parse(sentence) if name is not None}
