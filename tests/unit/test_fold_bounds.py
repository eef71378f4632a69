"""The bound of what lives under one lead or account, and what one batch costs there.

Costs are counted in calls, not in seconds: the counts are the same on every machine.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from salesfx import fold as fold_module
from salesfx import kpi
from salesfx.decoder import REF_PREFIX, Event
from salesfx.definitions import Definitions
from salesfx.fold import AccountFullError, Fold, decode_account, decode_lead, decode_standing
from salesfx.kpi import Cells
from salesfx.lead import MAX_ENTITIES, DealFacts, Facts, LeadFacts, QuoteFacts, Standing
from salesfx.refusal import Reason
from salesfx.rules import Rules
from tests.folding import FoldedTables

RULES = Rules(Definitions())
MORNING = 1_790_000_000_000_000
MINUTE = 60_000_000


def standing(key: str, home: str, occurred_at: int, revision: int = 0, *, retracted: bool = False) -> Standing:
    """Make a version."""
    return Standing(revision, occurred_at, f"e-{key}-{revision}", occurred_at, retracted, home, 0, 0)


def event(topic: str, key: str, version: Standing, facts: Facts | None) -> Event:
    """Make an event as the decoder does."""
    return Event(topic, key, version, facts, REF_PREFIX[topic] + key)


def lead(number: int, revision: int = 0) -> Event:
    """Make a lead_created."""
    key = f"L{number}"
    return event("lead_created", key, standing(key, "", MORNING, revision), LeadFacts("web", None, None))


def quote(number: int, lead_id: str = "L1", revision: int = 0) -> Event:
    """Make a quote that qualifies."""
    key, when = f"Q{number}", MORNING + number * MINUTE
    facts = QuoteFacts(when, lead_id, None, "maria", "100", "EUR", "crm", 1, None)
    return event("quote_sent", key, standing(key, f"lead:{lead_id}", when, revision), facts)


def withdrawn(number: int) -> Event:
    """Make a quote's retraction."""
    key = f"Q{number}"
    return event("quote_sent", key, standing(key, "", MORNING, 1, retracted=True), None)


def deal(number: int, account_id: str | None = "A1", lead_id: str | None = None, revision: int = 0) -> Event:
    """Make a won deal; without a lead it lives under a stand-in of its own."""
    key, when = f"D{number}", MORNING + number * MINUTE
    home = f"lead-of-deal:{key}" if lead_id is None else f"lead:{lead_id}"
    facts = DealFacts(when, lead_id, account_id, "maria", None, "won", "100", "EUR", None, None)
    return event("deal_closed", key, standing(key, home, when, revision), facts)


@pytest.fixture(scope="module")
def full_lead() -> FoldedTables:
    """Fill one lead with as many quotes as may live under it."""
    tables = FoldedTables(RULES)
    tables.fold([quote(number) for number in range(MAX_ENTITIES)])
    assert tables.rejected == []
    return tables


@pytest.fixture(scope="module")
def full_account() -> FoldedTables:
    """Tell one account of as many deals as it may be told of, each by a lead of its own."""
    tables = FoldedTables(RULES)
    tables.fold([deal(number) for number in range(MAX_ENTITIES)])
    assert decode_account(tables.records["account:A1"]).entities == MAX_ENTITIES
    return tables


def copied(tables: FoldedTables) -> FoldedTables:
    """Copy tables, so that a test may change them."""
    copy = FoldedTables(tables.rules)
    copy.records, copy.cells = dict(tables.records), dict(tables.cells)
    return copy


def booked(cells: Cells) -> int:
    """Add up the won deals of every day and category."""
    return sum(number for (_, field), number in cells.items() if field.startswith("booked_sales|") and "," not in field)


def fold_once(tables: FoldedTables, events: Iterable[Event]) -> Fold:
    """Fold a batch over the tables' records without changing these."""
    fold = Fold(events, tables.rules)
    records = {ref: tables.records.get(ref) for ref in fold.first_reads()}
    records |= {ref: tables.records.get(ref) for ref in fold.homes_left(records)}
    fold.merge(records)
    records |= {ref: tables.records.get(ref) for ref in fold.accounts()}
    fold.settle(records)
    return fold


# A lead.


def test_a_full_lead_takes_no_further_entity(full_lead: FoldedTables) -> None:
    """The next quote or deal is refused with the reason; records and cells are as before it."""
    tables = copied(full_lead)
    tables.fold([quote(MAX_ENTITIES)])
    tables.fold([deal(0, None, "L1")])
    assert tables.rejected == [Reason.TOO_MANY_ENTITIES] * 2
    assert (tables.records, tables.cells) == (full_lead.records, full_lead.cells)


def test_only_what_is_beyond_the_bound_is_refused() -> None:
    """In one batch, quotes and deals together, the first ten thousand get in and every neighbour's event does."""
    tables = FoldedTables(RULES)
    events: list[Event] = [quote(number) for number in range(MAX_ENTITIES - 1)]
    tables.fold([*events, deal(0, None, "L1"), quote(MAX_ENTITIES), deal(1, None, "L1"), quote(20_000, "L2"), lead(3)])
    assert tables.rejected == [Reason.TOO_MANY_ENTITIES] * 2
    assert decode_lead(tables.records["lead:L1"]).entities == MAX_ENTITIES
    assert f"quote:Q{MAX_ENTITIES}" not in tables.records
    assert "deal:D1" not in tables.records
    assert "lead:L3" in tables.records


def test_what_lives_under_a_full_lead_can_be_corrected(full_lead: FoldedTables) -> None:
    """A greater version of one of its entities needs no place; neither does the lead's own event."""
    tables = copied(full_lead)
    tables.fold([quote(7, revision=1), lead(1)])
    assert tables.rejected == []
    assert decode_standing(tables.records["quote:Q7"]).revision == 1


def test_an_entity_that_cannot_move_to_a_full_lead_stays(full_lead: FoldedTables) -> None:
    """The version before the refused one stands, where it was."""
    tables = copied(full_lead)
    tables.fold([quote(MAX_ENTITIES, "L2")])
    before = copied(tables)
    tables.fold([quote(MAX_ENTITIES, "L1", revision=1)])
    assert tables.rejected == [Reason.TOO_MANY_ENTITIES]
    assert (tables.records, tables.cells) == (before.records, before.cells)
    assert decode_standing(tables.records[f"quote:Q{MAX_ENTITIES}"]).home == "lead:L2"


def test_a_place_that_becomes_free_can_be_taken(full_lead: FoldedTables) -> None:
    """After one is withdrawn, also in the same batch, another gets in."""
    tables = copied(full_lead)
    tables.fold([withdrawn(3), quote(MAX_ENTITIES)])
    assert tables.rejected == []
    assert decode_lead(tables.records["lead:L1"]).entities == MAX_ENTITIES


# An account.


def test_a_full_account_takes_no_further_deal(full_account: FoldedTables) -> None:
    """The fold names the account and comes to no outcome, so nothing of it can be written."""
    with pytest.raises(AccountFullError, match="account:A1"):
        fold_once(full_account, [deal(MAX_ENTITIES)])
    assert booked(full_account.cells) == MAX_ENTITIES


def test_the_neighbours_of_the_deal_too_many_get_in(full_account: FoldedTables) -> None:
    """Folded in halves, everything else of its batch is merged, and nothing is left of the deal itself."""
    tables = copied(full_account)
    tables.fold([lead(1), deal(5, revision=1), deal(MAX_ENTITIES), lead(2), deal(MAX_ENTITIES + 1, "A2")])
    assert "deal:D10000" not in tables.records
    assert "lead-of-deal:D10000" not in tables.records
    assert {"lead:L1", "lead:L2", "account:A2"} < tables.records.keys()
    assert decode_standing(tables.records["deal:D5"]).revision == 1
    assert decode_account(tables.records["account:A1"]).entities == MAX_ENTITIES
    assert booked(tables.cells) == MAX_ENTITIES + 1


def test_a_lead_that_would_bring_too_many_deals_is_refused_whole(full_account: FoldedTables) -> None:
    """A lead_created that names a full account for deals that name none would move them there."""
    tables = copied(full_account)
    tables.fold([deal(MAX_ENTITIES, None, "L9")])
    before = copied(tables)
    moves = event("lead_created", "L9", standing("L9", "", MORNING), LeadFacts("web", None, "A1"))
    with pytest.raises(AccountFullError):
        fold_once(tables, [moves])
    tables.fold([moves])
    assert (tables.records, tables.cells) == (before.records, before.cells)


# What it costs.


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often leads and accounts are worked out, by reference."""
    counts: Counter[str] = Counter()
    add_flow, add_sales, add_account = kpi.add_flow, kpi.add_sales, kpi.add_account

    def counting_flow(*arguments: Any) -> None:
        counts["flow"] += 1
        add_flow(*arguments)

    def counting_sales(cells: Cells, sign: int, ref: str, *rest: Any) -> Any:
        counts[ref] += 1
        return add_sales(cells, sign, ref, *rest)

    def counting_accounts(*arguments: Any) -> None:
        counts["accounts"] += 1
        add_account(*arguments)

    monkeypatch.setattr(fold_module, "add_flow", counting_flow)
    monkeypatch.setattr(fold_module, "add_sales", counting_sales)
    monkeypatch.setattr(fold_module, "add_account", counting_accounts)
    return counts


def test_a_batch_works_out_a_lead_twice(counted: Counter[str]) -> None:
    """Once before and once after, however many of its events are in the batch; a new lead only after."""
    tables = FoldedTables(RULES)
    tables.fold([quote(number) for number in range(10)])
    assert counted == {"lead:L1": 1, "accounts": 2}
    counted.clear()
    tables.fold([quote(number) for number in range(5, 5005)])
    assert counted == {"lead:L1": 2, "accounts": 2}, "the lead is its own account"


def test_a_batch_works_out_an_account_twice(counted: Counter[str]) -> None:
    """Once before and once after, however many deals of the batch it is told of."""
    tables = FoldedTables(RULES)
    tables.fold([deal(number) for number in range(10)])
    assert counted["accounts"] == 2
    counted.clear()
    tables.fold([deal(number, f"A{number % 2 + 1}") for number in range(5, 2005)])
    assert counted["accounts"] == 4
    assert max(count for ref, count in counted.items() if ref != "accounts") <= 2


def test_a_batch_of_many_leads_works_out_each_once(counted: Counter[str]) -> None:
    """Leads that were not there before need no look at what they were; without sales no account is worked out."""
    FoldedTables(RULES).fold([lead(number) for number in range(4000)])
    assert counted == {"flow": 4000}


def test_a_quote_does_not_count_its_lead_anew(counted: Counter[str]) -> None:
    """What the lead's own event alone decides is worked out again only where that event changes."""
    tables = FoldedTables(RULES)
    tables.fold([lead(1)])
    counted.clear()
    tables.fold([quote(1)])
    assert counted["flow"] == 0
    tables.fold([lead(1, revision=1)])
    assert counted["flow"] == 2


def test_an_event_that_changes_nothing_works_out_nothing(counted: Counter[str]) -> None:
    """A duplicate, or a version that does not stand, leaves leads and accounts alone."""
    tables = FoldedTables(RULES)
    tables.fold([quote(1, revision=1), deal(1, "A1", "L1")])
    counted.clear()
    tables.fold([quote(1, revision=1), quote(1), deal(1, "A1", "L1")])
    assert counted == {}


def calls(work: Callable[[], object]) -> int:
    """Count the calls, of Python and of C, that some work makes."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(
    ("make", "one"),
    [
        (lambda size: [quote(number) for number in range(size)], quote(20_000)),
        (lambda size: [deal(number, None, "L1") for number in range(size)], deal(20_000, None, "L1")),
        (lambda size: [deal(number) for number in range(size)], deal(20_000)),
        (lambda size: [quote(number) for number in range(size)], withdrawn(10)),
        (lambda size: [deal(number, None, "L1") for number in range(size)], lead(1)),
    ],
    ids=["quote", "deal", "account", "withdrawn", "lead"],
)
def test_one_event_costs_in_proportion_to_what_it_joins(make: Callable[[int], list[Event]], one: Event) -> None:
    """Nine times as many entities take nine times as many calls, not eighty-one times."""
    costs = []
    for size in (1000, 9000):
        tables = FoldedTables(RULES)
        tables.fold(make(size))
        fold_once(tables, [one])  # what is remembered between batches is not counted
        costs.append(calls(lambda tables=tables: fold_once(tables, [one])))  # type: ignore[misc]
    small, large = costs
    assert small > 1000, "the event did not reach what it joins"
    assert large < 10 * small


@pytest.mark.parametrize("make", [quote, deal, lead], ids=["lead", "account", "leads"])
def test_a_batch_costs_in_proportion_to_its_events(make: Callable[[int], Event]) -> None:
    """Ten times as many events in a batch, of one lead, of one account or of many leads, take ten times as many calls."""
    costs = []
    for size in (500, 5000):
        events = [make(number) for number in range(size)]
        fold_once(FoldedTables(RULES), events)
        costs.append(calls(lambda events=events: fold_once(FoldedTables(RULES), events)))  # type: ignore[misc]
    small, large = costs
    assert small > 500
    assert large < 11 * small
