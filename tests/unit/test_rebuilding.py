"""Which definition did what: computed from the records of one view, without a server."""

import asyncio
from datetime import date
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salesfx.audit.recomputation import recomputed_cells
from salesfx.definitions import Definitions, Rate
from salesfx.kpi import Cells
from salesfx.rebuilding.differences import Difference, Parts, differences
from salesfx.rebuilding.steps import REST, Monthly, Recount, decoded, rest_name, steps
from salesfx.rules import Rules
from salesfx.settings import Settings
from salesfx.tables.memory import MemoryView
from salesfx.tables.store import Snapshot
from tests.events_strategy import DEFINITIONS, events
from tests.folding import FoldedTables

DOLLARS = (Rate(currency="USD", since=date(2026, 1, 1), per_euro=Decimal("1.25")),)
CHANGED = Definitions(
    timezone="Pacific/Kiritimati",
    currency="USD",
    rates=DOLLARS,
    recipient_limit=11,
    coverage_days=30,
    sales_cycle_days=45,
    source_aliases={"fair": "web"},
)
PRICED = msgspec.structs.replace(DEFINITIONS, rates=DOLLARS)
"""Refuses none of the currencies that the events have."""


def view_of(folded: FoldedTables) -> MemoryView:
    """Give a view of records."""
    snapshot = Snapshot("2", "", b"", (), {}, {}, {}, {})
    return MemoryView(snapshot, {ref: bytes(8) + content for ref, content in folded.records.items()})


def folded(messages: list[tuple[str, bytes]], definitions: Definitions) -> FoldedTables:
    """Fold events."""
    tables = FoldedTables(Rules(definitions))
    tables.take(messages)
    return tables


def monthly(cells: Cells) -> Monthly:
    """Add up by month."""
    totals: Monthly = {}
    for (when, field), number in cells.items():
        if len(when) == 10:
            totals[when[:7], field] = totals.get((when[:7], field), 0) + number
    return without_zeros(totals)


def without_zeros(totals: Monthly) -> Monthly:
    """Leave out what came to nothing."""
    return {cell: number for cell, number in totals.items() if number}


def test_each_setting_is_a_step() -> None:
    """In the order of the definitions; rates in another order are no change."""
    found = steps(PRICED.canonical(), CHANGED)
    assert [each.setting for each in found] == [
        "timezone",
        "currency",
        "recipient_limit",
        "coverage_days",
        "sales_cycle_days",
        "source_aliases",
    ]
    assert found[-1].definitions.fingerprint == CHANGED.fingerprint
    assert found[0].definitions == msgspec.structs.replace(decoded(PRICED.canonical()), timezone=CHANGED.timezone)
    two = tuple(Rate(currency=name, since=date(2026, 1, 1), per_euro=Decimal(2)) for name in ("USD", "GBP"))
    assert steps(Definitions(rates=two).canonical(), Definitions(rates=two[::-1])) == []


@pytest.mark.parametrize(("before", "after"), [(PRICED, CHANGED), (CHANGED, PRICED)], ids=["there", "back"])
@given(messages=st.lists(events, max_size=14))
@settings(max_examples=150, deadline=None)
async def test_the_tables_in_between_are_those_made_under_them(
    before: Definitions, after: Definitions, messages: list[tuple[str, bytes]]
) -> None:
    """From the records of the new tables come the tables under every set of definitions on the way, to the letter.

    The expected ones are computed from the events by the code that shares nothing with it.
    """
    changes = steps(before.canonical(), after)
    on_the_way = [decoded(before.canonical()), *(each.definitions for each in changes)]
    recount = Recount(view_of(folded(messages, after)), [Rules(each) for each in on_the_way])
    await recount.run()
    for totals, definitions in zip(recount.totals, on_the_way, strict=True):
        assert without_zeros(totals) == monthly(recomputed_cells(messages, definitions))
    live, new = (monthly(recomputed_cells(messages, each)) for each in (before, after))
    names = ["", *(each.setting for each in changes)]
    for found in differences(live, list(zip(names, recount.totals, strict=True)), new):
        for parts in (found.total, *found.by_label.values()):
            assert REST not in parts.by
            assert sum(map(hundredths, parts.by.values())) == hundredths(parts.difference)
            assert hundredths(parts.new) - hundredths(parts.live) == hundredths(parts.difference)


def hundredths(number: int | str) -> Decimal:
    """Read a number of the report."""
    return Decimal(number)


async def test_others_go_on_while_an_account_of_many_leads_is_summed() -> None:
    """Under each of the definitions again: else the rebuild could not say meanwhile that it is still at work."""
    deal = {"event_id": "e", "occurred_at": "2026-10-05T10:00:00Z", "account_id": "A", "outcome": "won"}
    deals = [{**deal, "deal_id": f"D{number}", "amount": "1", "currency": "EUR"} for number in range(1000)]
    messages = [("deal_closed", msgspec.json.encode(fields)) for fields in deals]
    recount = Recount(view_of(folded(messages, Definitions())), [Rules(Definitions())] * 3)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    await recount._add_accounts({"account:A": [f"lead-of-deal:D{number}" for number in range(1000)]})
    beside.cancel()
    assert turns >= 12
    assert recount.totals[0]["2026-10", "booked_sales|category=new_account"] == 1


async def test_what_is_refused_without_a_rate_is_the_rest() -> None:
    """A quote in dollars that the live tables have, and the new ones refuse, is no setting's doing as far as records tell."""
    fields = {
        "event_id": "e1",
        "occurred_at": "2026-10-05T10:00:00Z",
        "deal_id": "D1",
        "outcome": "won",
        "amount": "125",
        "currency": "USD",
    }
    messages = [("deal_closed", msgspec.json.encode(fields))]
    live, new = folded(messages, PRICED), folded(messages, DEFINITIONS)
    assert new.rejected == ["no_rate"]
    changes = steps(PRICED.canonical(), DEFINITIONS)
    assert [each.setting for each in changes] == ["rates"]
    recount = Recount(view_of(new), [Rules(PRICED), Rules(DEFINITIONS)])
    await recount.run()
    named = [("", recount.totals[0]), ("rates", recount.totals[1])]
    found = {each.metric: each.total for each in differences(monthly(live.cells), named, monthly(new.cells))}
    assert found["booked_sales_value"] == Parts("100.00", "0.00", "-100.00", {REST: "-100.00"})


def test_a_move_between_sources_shows_though_the_total_stays() -> None:
    """With aliases the total is the same, and the parts are not."""
    cell = "leads|source="
    live, new = {("2026-10", cell + "www"): 3, ("2026-10", cell + "web"): 1}, {("2026-10", cell + "web"): 4}
    [found] = differences(live, [("", live), ("source_aliases", new)], new)
    assert found == Difference(
        "2026-10",
        "leads",
        Parts(4, 4, 0, {}),
        {"web": Parts(1, 4, 3, {"source_aliases": 3}), "www": Parts(3, 0, -3, {"source_aliases": -3})},
        2,
    )


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, REST),
        ({"rules_version": 0}, "rules_version"),
        ({"timezone_rules": "x"}, "timezone_rules"),
        ({"rules_version": 0, "timezone_rules": "x"}, "rules_version and timezone_rules"),
    ],
)
def test_what_changed_beside_the_settings_names_the_rest(changed: dict[str, object], name: str) -> None:
    """Another edition of salesfx, or of the time zones, cannot be computed with any more; what they did is what is left."""
    stored = msgspec.json.encode({**msgspec.json.decode(Definitions().canonical()), **changed})
    assert rest_name(stored) == name


def test_settings_take_the_definitions_of_tables() -> None:
    """Whatever the tables are made under can be put into the settings, and means the same there."""
    assert Settings().with_definitions(decoded(CHANGED.canonical())).definitions.fingerprint == CHANGED.fingerprint
