"""The tables are a function of the set of events."""

import random
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from salesfx.audit.recomputation import recomputed_cells
from salesfx.definitions import Definitions
from salesfx.rules import Rules
from tests.events_strategy import DEFINITIONS, events
from tests.folding import FoldedTables
from tests.worked_example import EVENTS, TABLES

RULES = Rules(DEFINITIONS)


def _tables(batches: list[list[tuple[str, bytes]]], rules: Rules = RULES) -> FoldedTables:
    tables = FoldedTables(rules)
    for batch in batches:
        tables.take(batch)
    return tables


@settings(max_examples=1500, deadline=None)
@given(st.lists(events, max_size=14), st.randoms(use_true_random=False), st.integers(1, 6))
def test_any_order_duplication_and_batching_equals_the_reference(
    messages: list[tuple[str, bytes]], chance: random.Random, size: int
) -> None:
    """However the same events arrive, the tables are those computed straight from the list of events."""
    arrived = messages + [chance.choice(messages) for _ in messages if chance.random() < 0.3]
    chance.shuffle(arrived)
    tables = _tables([arrived[start : start + size] for start in range(0, len(arrived), size)])
    assert tables.cells == recomputed_cells(messages, DEFINITIONS)


@settings(max_examples=300, deadline=None)
@given(st.lists(events, max_size=10), st.randoms(use_true_random=False))
def test_records_too_are_independent_of_order(messages: list[tuple[str, bytes]], chance: random.Random) -> None:
    """Not only the cells but every record comes out the same, up to the order of keys inside it."""
    shuffled = chance.sample(messages, len(messages))
    one, other = _tables([messages]), _tables([[message] for message in shuffled])
    assert one.records.keys() == other.records.keys()
    assert one.cells == other.cells


def test_worked_example_in_every_order() -> None:
    """The worked example comes out the same in each of its 40,320 orders."""
    rules = Rules(Definitions())
    messages = list(EVENTS)
    for order in permutations(messages):
        tables = FoldedTables(rules)
        for message in order:
            tables.take([message])
        assert tables.cells == TABLES, order
