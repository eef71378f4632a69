"""The reference must be right itself before anything is compared with it."""

import ast
import base64
import json
import random
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from salesfx.audit import recomputation
from salesfx.audit.recomputation import (
    NoRateError,
    RefusedError,
    from_canonical,
    read_event,
    recomputed_cells,
    refused,
    tables_of,
)
from salesfx.definitions import Definitions, Rate

Raw = tuple[str, bytes]
Tables = dict[tuple[str, str], int]

DEFAULTS = Definitions()


def event(topic: str, occurred_at: str, **fields: object) -> Raw:
    """Make one event; a bare date stands for noon UTC, and the event id is made from the entity's unless given."""
    if len(occurred_at) == len("2026-01-01"):
        occurred_at += "T12:00:00Z"
    own = {"lead_created": "lead_id", "quote_sent": "quote_id", "deal_closed": "deal_id"}[topic]
    content = {"event_id": f"e-{fields[own]}", "occurred_at": occurred_at, **fields}
    return topic, json.dumps(content).encode()


def lead(lead_id: str, occurred_at: str, **fields: object) -> Raw:
    """Make a lead."""
    return event("lead_created", occurred_at, lead_id=lead_id, **fields)


def quote(quote_id: str, occurred_at: str, amount: object = "100", **fields: object) -> Raw:
    """Make a quote that qualifies."""
    return event(
        "quote_sent",
        occurred_at,
        **{"quote_id": quote_id, "amount": amount, "currency": "EUR", "need": "crm", **fields},
    )


def won(deal_id: str, occurred_at: str, amount: object = "100", **fields: object) -> Raw:
    """Make a won deal."""
    return event(
        "deal_closed",
        occurred_at,
        **{"deal_id": deal_id, "outcome": "won", "amount": amount, "currency": "EUR", **fields},
    )


def tables(*events: Raw, definitions: Definitions = DEFAULTS) -> Tables:
    """Compute the tables, and see to it that neither order nor duplicates change them."""
    result = recomputed_cells(events, definitions)
    shuffled = [*events, *events]
    for seed in range(5):
        random.Random(seed).shuffle(shuffled)
        assert recomputed_cells(shuffled, definitions) == result
    return result


def metric(cells: Tables, name: str) -> Tables:
    """Pick one metric."""
    return {(when, field): amount for (when, field), amount in cells.items() if field.startswith(f"{name}|")}


def sources(cells: Tables, name: str) -> dict[tuple[str, str], int]:
    """Pick one metric by day and source."""
    start = f"{name}|source="
    return {
        (when, field.removeprefix(start)): amount
        for (when, field), amount in cells.items()
        if field.startswith(start) and "T" not in when
    }


def categories(cells: Tables, name: str) -> dict[tuple[str, str], int]:
    """Pick one metric by day and category."""
    start = f"{name}|category="
    return {
        (when, field.removeprefix(start)): amount
        for (when, field), amount in cells.items()
        if field.startswith(start) and ",salesperson=" not in field
    }


def by_both(when: str, name: str, amount: int, source: str) -> Tables:
    """Give the two cells of a lead's metric, nobody being assigned."""
    return {(when, f"{name}|source={source}"): amount, (when, f"{name}|salesperson=unassigned"): amount}


def sale(when: str, name: str, category: str, hundredths: int) -> Tables:
    """Give the four cells of one sale, nobody being assigned."""
    return {
        (when, f"{metric}|category={category}{who}"): amount
        for metric, amount in ((name, 1), (f"{name}_value", hundredths))
        for who in ("", ",salesperson=unassigned")
    }


WORKED_EXAMPLE = [
    lead("L1", "2026-09-30T21:30:00Z", source=" Web "),
    quote("Q1", "2026-10-05", "1000", lead_id="L1", expected_close_on="2026-11-20"),
    quote("Q2", "2026-11-03", "1200", lead_id="L1"),
    quote("Q3", "2026-11-04", "900", lead_id="L2", need=None, recipient_count=50),
    won("D1", "2026-11-18", "1150", lead_id="L1", account_id="A1"),
    won("D2", "2027-01-10", "500", account_id="A1"),
    won("D3", "2028-03-01", "700", account_id="A1"),
    won("D0", "2026-06-01", "300", account_id="A1"),
]

FLOW = {
    ("2026-10-01", "leads|source=web"): 1,
    ("2026-10-01", "leads|salesperson=unassigned"): 1,
    ("2026-10-01T00", "leads|source=web"): 1,
}
QUALIFIED_FIRST = {
    **by_both("2026-10-05", "qualified_leads", 1, "web"),
    **by_both("2026-10-05", "qualified_leads_value", 100000, "web"),
}
QUALIFIED = {**QUALIFIED_FIRST, **by_both("2026-10-05", "qualified_leads_value", 120000, "web")}
COHORT = by_both("2026-10-05", "cohort_customers", 1, "web")
D1_FIRST = {
    **sale("2026-11-18", "booked_sales", "new_account", 115000),
    **by_both("2026-11-18", "new_customers", 1, "web"),
}
D2 = sale("2027-01-10", "booked_sales", "expansion", 50000)
D3 = sale("2028-03-01", "booked_sales", "returning", 70000)
PLANNED_DECEMBER = sale("2026-12-03", "planned_sales", "new_account", 120000)

WORKED_TABLES: list[Tables] = [
    FLOW,
    {**FLOW, **QUALIFIED_FIRST, **sale("2026-11-20", "planned_sales", "new_account", 100000)},
    {**FLOW, **QUALIFIED, **PLANNED_DECEMBER},
    {**FLOW, **QUALIFIED, **PLANNED_DECEMBER},
    {**FLOW, **QUALIFIED, **COHORT, **D1_FIRST},
    {**FLOW, **QUALIFIED, **COHORT, **D1_FIRST, **D2},
    {**FLOW, **QUALIFIED, **COHORT, **D1_FIRST, **D2, **D3},
    {
        **FLOW,
        **QUALIFIED,
        **COHORT,
        **sale("2026-06-01", "booked_sales", "new_account", 30000),
        **by_both("2026-06-01", "new_customers", 1, "unattributed"),
        **sale("2026-11-18", "booked_sales", "expansion", 115000),
        **D2,
        **D3,
    },
]


@pytest.mark.parametrize("line", range(1, 9))
def test_worked_example(line: int) -> None:
    """All tables, after each line."""
    assert tables(*WORKED_EXAMPLE[:line]) == WORKED_TABLES[line - 1]


def test_a_bulk_mail_with_a_need_does_not_qualify_beyond_the_limit() -> None:
    """Rule 2: the limit itself is still fine."""
    at_limit = quote("Q1", "2026-10-05", lead_id="L1", recipient_count=10)
    beyond = quote("Q1", "2026-10-05", lead_id="L1", recipient_count=11)
    assert sources(tables(at_limit), "qualified_leads") == {("2026-10-05", "unknown"): 1}
    assert tables(beyond) == {}
    assert tables(beyond, definitions=Definitions(recipient_limit=11)) == tables(at_limit)


def test_a_qualified_lead_stands_at_its_earliest_quotes_salesperson() -> None:
    """Rules 2 and 7, with the value of the latest; on equal times the greater id is the later."""
    cells = tables(
        lead("L1", "2026-10-01", salesperson="Maria"),
        quote("Q2", "2026-10-05", "20", lead_id="L1", salesperson="Ivan"),
        quote("Q1", "2026-10-05", "10", lead_id="L1"),
    )
    assert cells["2026-10-05", "qualified_leads|salesperson=Maria"] == 1
    assert cells["2026-10-05", "qualified_leads_value|salesperson=Maria"] == 2000
    assert cells["2026-11-04", "planned_sales_value|category=new_account,salesperson=Ivan"] == 2000
    assert ("2026-10-05", "qualified_leads|salesperson=Ivan") not in cells


def test_a_stand_in_is_no_qualified_lead_but_is_planned() -> None:
    """Rules 2 and 3."""
    cells = tables(quote("Q1", "2026-10-05"))
    assert cells == sale("2026-11-04", "planned_sales", "new_account", 10000)


def test_a_quote_of_nothing_counts_without_a_value() -> None:
    """Cells of 0 are absent."""
    assert tables(quote("Q1", "2026-10-05", 0, lead_id="L1")) == {
        **by_both("2026-10-05", "qualified_leads", 1, "unknown"),
        ("2026-11-04", "planned_sales|category=new_account"): 1,
        ("2026-11-04", "planned_sales|category=new_account,salesperson=unassigned"): 1,
    }


@pytest.mark.parametrize(
    ("fields", "still_planned"),
    [
        ({"lead_id": "L1", "outcome": "lost"}, ["Q2"]),
        ({"lead_id": "L1", "outcome": "open", "quote_id": "Q2"}, ["Q2"]),
        ({"lead_id": "L1", "outcome": "lost", "quote_id": "Q2"}, []),
        ({"lead_id": "L2", "outcome": "lost", "quote_id": "Q2"}, ["Q2"]),
        ({"quote_id": "Q2", "outcome": "lost"}, ["Q2"]),  # under the stand-in of Q2, which itself is under L1
    ],
)
def test_what_a_deal_closes(fields: dict[str, object], still_planned: list[str]) -> None:
    """Rule 3: what was sent no later, and what it names under the same lead."""
    cells = tables(
        quote("Q1", "2026-10-05", "10", lead_id="L1"),
        quote("Q2", "2026-10-07", "20", lead_id="L1"),
        event("deal_closed", "2026-10-05", deal_id="D1", **fields),
    )
    assert len(categories(cells, "planned_sales")) == len(still_planned)


def test_a_quote_and_a_deal_without_lead_share_the_quotes_stand_in() -> None:
    """The deal names the quote: it closes it, and takes its account."""
    cells = tables(
        won("D0", "2026-01-01", account_id="A1"),
        quote("Q1", "2026-10-05", account_id="A1"),
        won("D1", "2026-10-04", quote_id="Q1"),
    )
    assert metric(cells, "planned_sales") == {}
    assert categories(cells, "booked_sales") == {("2026-01-01", "new_account"): 1, ("2026-10-04", "expansion"): 1}


def test_the_account_is_the_one_named_latest() -> None:
    """An open deal and a bulk quote name accounts too; on equal times and ids the quote is the later."""
    first = won("D0", "2026-01-01", account_id="A1")
    unnamed = won("D1", "2026-03-01", lead_id="L1")
    deal = event("deal_closed", "2026-04-01", deal_id="X", lead_id="L1", account_id="A1", outcome="open")
    bulk = quote("X", "2026-04-01", lead_id="L1", account_id="A2", need="")
    leads_own = lead("L1", "2026-01-01", account_id="A1")
    assert categories(tables(first, unnamed), "booked_sales")["2026-03-01", "new_account"] == 1
    assert categories(tables(first, unnamed, deal), "booked_sales")["2026-03-01", "expansion"] == 1
    assert categories(tables(first, unnamed, deal, bulk), "booked_sales")["2026-03-01", "new_account"] == 1
    assert categories(tables(first, unnamed, deal, bulk, leads_own), "booked_sales")["2026-03-01", "expansion"] == 1


@pytest.mark.parametrize(
    ("earlier", "closed", "category"),
    [
        ({}, "2027-01-01", "expansion"),  # 365 days after 1 January 2026, the last day included
        ({}, "2027-01-02", "returning"),
        ({"contract_ends_on": "2026-02-01"}, "2026-02-01", "expansion"),
        ({"contract_ends_on": "2026-02-01"}, "2026-02-02", "returning"),
        ({"contract_ends_on": "9999-12-31"}, "2090-02-02", "expansion"),
    ],
)
def test_coverage(earlier: dict[str, object], closed: str, category: str) -> None:
    """Rule 5; the CRM's own category says nothing where there is an earlier deal."""
    cells = tables(
        won("D1", "2026-01-01", account_id="A", **earlier),
        won("D2", closed, account_id="A", category="new_account"),
    )
    assert categories(cells, "booked_sales")[closed, category] == 1


def test_the_coverage_that_ends_last_decides() -> None:
    """Rule 5: of all the earlier deals, not of the last one."""
    cells = tables(
        won("D1", "2026-01-01", account_id="A", contract_ends_on="2030-01-01"),
        won("D2", "2026-02-01", account_id="A", contract_ends_on="2026-02-02"),
        won("D3", "2029-01-01", account_id="A"),
    )
    assert categories(cells, "booked_sales")["2029-01-01", "expansion"] == 1


def test_the_crms_category_counts_for_the_first_deal() -> None:
    """Rules 5 and 6: a returning customer is no new one, but is in the cohort."""
    cells = tables(quote("Q1", "2026-01-01", lead_id="L1"), won("D1", "2026-01-02", lead_id="L1", category="returning"))
    assert categories(cells, "booked_sales") == {("2026-01-02", "returning"): 1}
    assert metric(cells, "new_customers") == {}
    assert sources(cells, "cohort_customers") == {("2026-01-01", "unknown"): 1}


def test_a_quote_sent_the_moment_a_deal_closed_comes_before_it() -> None:
    """Rule 5: for quotes only deals that closed strictly before are earlier."""
    deal = won("D1", "2026-01-02", account_id="A")
    same = quote("Q1", "2026-01-02", account_id="A")
    later = quote("Q1", "2026-01-02T12:00:00.000001Z", account_id="A")
    assert list(categories(tables(deal, same), "planned_sales")) == [("2026-02-01", "new_account")]
    assert list(categories(tables(deal, later), "planned_sales")) == [("2026-02-01", "expansion")]


def test_a_corrected_source_moves_the_deals() -> None:
    """Rule 7."""
    events = [won("D1", "2026-01-02", lead_id="L1"), lead("L1", "2026-01-01", source="fair")]
    assert sources(tables(*events), "new_customers") == {("2026-01-02", "fair"): 1}
    events.append(lead("L1", "2026-01-01", source="WEB", revision=1))
    assert sources(tables(*events), "new_customers") == {("2026-01-02", "web"): 1}


def test_aliases_and_case() -> None:
    """Rule 1: both sides of an alias are folded as sources are; an alias is followed once."""
    definitions = Definitions(source_aliases={" INTERNET": "Web ", "web": "site"})
    cells = tables(
        lead("L1", "2026-01-01", source="internet"),
        lead("L2", "2026-01-01", source="STRASSE"),
        lead("L3", "2026-01-01", source="straße"),
        lead("L4", "2026-01-01", source=" "),
        definitions=definitions,
    )
    assert sources(cells, "leads") == {
        ("2026-01-01", "web"): 1,
        ("2026-01-01", "strasse"): 2,
        ("2026-01-01", "unknown"): 1,
    }


def test_a_retracted_lead_leaves_its_quotes() -> None:
    """Rule 8; the retraction needs nothing but the id, and a greater version brings the lead back."""
    events = [lead("L1", "2026-01-01", source="web"), quote("Q1", "2026-01-02", lead_id="L1")]
    events.append(lead("L1", "2026-01-01", retracted=True, revision=1, source=7))
    cells = tables(*events)
    assert metric(cells, "leads") == {}
    assert sources(cells, "qualified_leads") == {("2026-01-02", "unknown"): 1}
    events.append(lead("L1", "2026-01-01", revision=2, source="fair"))
    assert sources(tables(*events), "qualified_leads") == {("2026-01-02", "fair"): 1}


def test_a_retracted_quote_and_a_refused_version() -> None:
    """Rule 8: withdrawn by its id alone; a refused version leaves the one before."""
    sent = quote("Q1", "2026-01-02", "10", lead_id="L1")
    bad = quote("Q1", "2026-01-02", "-1", lead_id="L1", revision=5)
    gone = event("quote_sent", "2026-01-02", quote_id="Q1", retracted=True, revision=1)
    assert tables(sent, bad) == tables(sent) != {}
    assert tables(sent, bad, gone) == {}


def test_a_quote_that_moves_counts_once() -> None:
    """The winning version decides the lead."""
    cells = tables(
        quote("Q1", "2026-01-02", lead_id="L1"),
        quote("Q1", "2026-01-03", lead_id="L2", revision=1),
    )
    assert sources(cells, "qualified_leads") == {("2026-01-03", "unknown"): 1}


@pytest.mark.parametrize(
    ("smaller", "greater"),
    [
        ({"revision": 1, "recorded_at": "2026-02-01T00:00:00Z"}, {"revision": 2}),
        ({"recorded_at": "2026-02-01T00:00:00+02:00"}, {"recorded_at": "2026-01-31T22:00:00.000001Z"}),
        ({"recorded_at": "2026-01-01T12:00:00.0000009Z", "event_id": "a"}, {"event_id": "b"}),
        ({"event_id": "z"}, {"event_id": "a", "recorded_at": "2026-01-02T00:00:00Z"}),
        ({"event_id": "Z"}, {"event_id": "a"}),
        ({"event_id": "\uffff"}, {"event_id": "\U00010000"}),
        ({}, {}),  # by the canonical bytes: "small" is less than "tall",
        ({"salesperson": "z"}, {}),  # and the key salesperson less than the key source
    ],
)
def test_the_order_of_versions(smaller: dict[str, object], greater: dict[str, object]) -> None:
    """(revision, recorded_at, event_id, canonical bytes): never the order of arrival."""
    cells = tables(
        lead("L1", "2026-01-01", **{"event_id": "e", "source": "small", **smaller}),
        lead("L1", "2026-01-01", **{"event_id": "e", "source": "tall", **greater}),
    )
    assert sources(cells, "leads") == {("2026-01-01", "tall"): 1}


def test_canonical_bytes() -> None:
    """Only what was read, normalised, keys sorted, no spaces."""
    _, value = won(
        "D1",
        "2026-01-01T14:00:00.12345678+02:00",
        "1000.50",
        event_id=" e ",
        salesperson=" Ange\u0301le ",
        currency=" eur",
        lead_id="",
        recipient_count=3,
        revision=2.0,
    )
    assert (
        read_event("deal_closed", value, DEFAULTS).canonical
        == (
            '{"amount":"1000.5","currency":"EUR","deal_id":"D1","event_id":" e ",'
            '"occurred_at":"2026-01-01T12:00:00.123456Z","outcome":"won","recorded_at":"2026-01-01T12:00:00.123456Z",'
            '"retracted":false,"revision":2,"salesperson":"Ang\u00e9le"}'
        ).encode()
    )
    _, value = quote("Q1", "2026-01-01", json.loads("1e3"), retracted=True, lead_id="L1")
    assert read_event("quote_sent", value, DEFAULTS).canonical == (
        b'{"event_id":"e-Q1","occurred_at":"2026-01-01T12:00:00.000000Z","quote_id":"Q1",'
        b'"recorded_at":"2026-01-01T12:00:00.000000Z","retracted":true,"revision":0}'
    )


RATES = (
    Rate(currency="USD", since=date(2026, 1, 1), per_euro=Decimal("1.10")),
    Rate(currency="USD", since=date(2026, 2, 1), per_euro=Decimal("1.25")),
    Rate(currency="GBP", since=date(2026, 1, 1), per_euro=Decimal("0.8")),
)


@pytest.mark.parametrize(
    ("occurred_at", "amount", "currency", "reporting", "hundredths"),
    [
        ("2026-01-01", "0.005", "EUR", "EUR", 1),  # half up
        ("2026-01-01", "0.00499999", "EUR", "EUR", 0),
        ("2026-01-01", "1.95583", "BGN", "EUR", 100),
        ("2026-01-01", "1", "EUR", "BGN", 196),
        ("2026-01-31", "110", "USD", "EUR", 10000),
        ("2026-01-31T22:00:00Z", "110", "USD", "EUR", 8800),  # 1 February in Sofia
        ("2026-02-01", "80", "GBP", "USD", 12500),
        ("2025-12-31", "80", "USD", "EUR", None),  # no rate yet
        ("2025-12-31", "80", "USD", "USD", 8000),  # nothing to convert
        ("2026-02-01", "80", "CHF", "EUR", None),
        ("2026-02-01", "9999999999.994", "EUR", "EUR", 999999999999),
        ("2026-02-01", "9999999999.99", "EUR", "USD", 1249999999999),
    ],
)
def test_money(occurred_at: str, amount: str, currency: str, reporting: str, hundredths: int | None) -> None:
    """Exactly, rounded half up once."""
    definitions = Definitions(currency=reporting, rates=RATES)
    topic, value = won("D1", occurred_at, amount, currency=currency)
    assert refused(topic, value, definitions) == (hundredths is None)
    if hundredths is not None:
        assert read_event(topic, value, definitions).hundredths == hundredths


def test_a_converted_amount_has_a_bound() -> None:
    """10^13 hundredths are too many."""
    yen = Definitions(currency="JPY", rates=(Rate(currency="JPY", since=date(2000, 1, 1), per_euro=Decimal(100)),))
    assert refused(*won("D1", "2026-01-01", "1000000000"), yen)
    assert not refused(*won("D1", "2026-01-01", "999999999"), yen)


Content = dict[str, object]

LEAD: Content = {"event_id": "e", "occurred_at": "2026-01-01T00:00:00Z", "lead_id": "L"}
QUOTE: Content = {
    "event_id": "e",
    "occurred_at": "2026-01-01T00:00:00Z",
    "quote_id": "Q",
    "amount": "1",
    "currency": "EUR",
}
DEAL: Content = {"event_id": "e", "occurred_at": "2026-01-01T00:00:00Z", "deal_id": "D", "outcome": "lost"}


def each(name: str, content: Content, *values: object) -> list[Content]:
    """Put each of the values in one field."""
    return [{**content, name: value} for value in values]


GOOD: dict[str, list[Content]] = {
    "lead_created": [
        *each("source", LEAD, " " + "x" * 100 + "\n", None, "", "\t", "e\u0301" * 100),
        *each("lead_id", LEAD, "x" * 200, " L "),
        *each("account_id", LEAD, "\t"),
        *each("revision", LEAD, 2**63 - 1, 3.0, 1e3, -0.0),
        *each(
            "occurred_at",
            LEAD,
            "2000-01-01T00:00:00+14:00",
            "2100-12-31T23:59:59.999999999-23:59",
            "2026-01-01t00:00:00z",
            "2028-02-29T00:00:00-00:00",
        ),
        {**LEAD, "revision": " ", "retracted": "", "recorded_at": "\n"},
        {**LEAD, "unknown": "\ud800", "need": 5},
        {**LEAD, "retracted": True, "source": 5},
    ],
    "quote_sent": [
        *each("amount", QUOTE, "0", "007.50", "5.", ".5", 0, 0.1, 1e3, 1e-7, -0.0),
        *each("currency", QUOTE, " bgn "),
        *each("need", QUOTE, "x\u0000" * 3000),
        *each("recipient_count", QUOTE, 3.0, 2**63 - 1),
        *each("expected_close_on", QUOTE, "2000-01-01", "2100-12-31"),
    ],
    "deal_closed": [
        {**DEAL, "outcome": "open", "amount": -5, "currency": 7},
        *each("contract_ends_on", DEAL, "9999-12-31", "0001-01-01"),
        *each("category", DEAL, " ", "returning"),
    ],
}

BAD: dict[str, list[Content]] = {
    "lead_lost": [LEAD],
    "lead_created": [
        *[content for name in LEAD for content in each(name, LEAD, None, "", " \t", 5)],
        *[
            content
            for name in ("event_id", "lead_id", "account_id", "source", "salesperson")
            for content in each(name, LEAD, "x\u0007y", "x" * 201, "\ud800", 5)
        ],
        *each("source", LEAD, "x" * 101),
        *each("account_id", LEAD, "A\n"),
        *each("revision", LEAD, -1, 2**63, 1.5, "1", True, 1e300),
        *each("retracted", LEAD, 1, "true", []),
        *[
            content
            for name in ("occurred_at", "recorded_at")
            for content in each(
                name,
                LEAD,
                "2026-01-01",
                "2026-01-01T00:00:00",
                "2026-01-01T00:00Z",
                "2026-01-01T00:00:00.Z",
                "2026-02-29T00:00:00Z",
                "2026-01-01T24:00:00Z",
                "2026-01-01T00:00:00+24:00",
                "1999-12-31T23:59:59Z",
                "2101-01-01T00:00:00+14:00",
                1767225600,
            )
        ],
        {**LEAD, "retracted": True, "revision": -1},
    ],
    "quote_sent": [
        *[{**QUOTE, name: None} for name in QUOTE],
        *each(
            "amount",
            QUOTE,
            "-1",
            "+1",
            "1e3",
            "1,5",
            "1.2.3",
            ".",
            " 1",
            "\u0661",
            True,
            -0.01,
            10**10,
            "10000000000",
            [],
        ),
        *each("recipient_count", QUOTE, 0, -1, "3", True, 2.5, 2**63),
        *each(
            "expected_close_on",
            QUOTE,
            "1999-12-31",
            "2101-01-01",
            "2026-02-30",
            "2026-2-3",
            "20260203",
            "2026-01-01T00:00:00Z",
        ),
        *each("need", QUOTE, ["crm"]),
    ],
    "deal_closed": [
        *each("outcome", DEAL, None, "Won", "pending", "won"),
        *each("category", DEAL, "upsell"),
        *each("contract_ends_on", DEAL, "0000-01-01"),
    ],
}


def flat(cases: dict[str, list[Content]]) -> list[tuple[str, Content]]:
    """Give each content with its topic."""
    return [(topic, content) for topic, contents in cases.items() for content in contents]


@pytest.mark.parametrize(("topic", "content"), flat(GOOD))
def test_usable(topic: str, content: dict[str, object]) -> None:
    """What a CRM may write."""
    assert not refused(topic, json.dumps(content).encode(), DEFAULTS)


@pytest.mark.parametrize(("topic", "content"), flat(BAD))
def test_refused(topic: str, content: dict[str, object]) -> None:
    """What it may not."""
    assert refused(topic, json.dumps(content).encode(), DEFAULTS)


def raw_values() -> Iterable[bytes]:
    """Give messages that are no JSON object, or too long."""
    good = json.dumps(LEAD).encode()
    yield from (
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 60000,
        good[:-1] + b',"x":NaN}',
        good.decode().encode("utf-16"),
    )
    yield good + b" " * (64 * 1024 + 1 - len(good))


@pytest.mark.parametrize("value", list(raw_values()))
def test_no_message(value: bytes) -> None:
    """Strict UTF-8, strict JSON, an object, 64 KiB."""
    assert refused("lead_created", value, DEFAULTS)


@pytest.mark.parametrize("number", ["1e-999999999", "1e999999999", "1e99999999999999999999", "NaN", "-1e-400"])
def test_absurd_numbers_are_refused_at_once(number: str) -> None:
    """They are a few bytes long, and would be gigabytes as exact fractions."""
    for name in ("amount", "recipient_count"):
        value = json.dumps({**QUOTE, name: "@"}).replace('"@"', number).encode()
        assert refused("quote_sent", value, DEFAULTS)


def test_amounts_are_never_binary_floats() -> None:
    """0.285 as a float is a little less, and would round down."""
    topic, value = quote("Q1", "2026-01-01", 0.285)
    assert b"0.285" in value
    assert read_event(topic, value, DEFAULTS).hundredths == 29
    assert not refused(topic, value.ljust(64 * 1024), DEFAULTS)


def test_it_shares_no_code_with_what_it_is_compared_with() -> None:
    """The second implementation imports nothing of the first, only the type of the settings."""
    modules = list(Path(str(recomputation.__file__)).parent.glob("*.py"))
    assert len(modules) > 5
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                ours = name.startswith(("salesfx.audit.recomputation", "salesfx.definitions"))
                assert ours or name.split(".")[0] not in {"salesfx", "streams", "tests"}, f"{module.name}: {name}"


@pytest.mark.parametrize(("topic", "content"), flat(GOOD))
def test_an_event_comes_back_from_its_canonical_bytes(topic: str, content: dict[str, object]) -> None:
    """They hold all that is read of an event but the converted amount."""
    read = read_event(topic, json.dumps(content).encode(), DEFAULTS)
    assert from_canonical(topic, read.canonical, read.hundredths) == read


def test_envelopes() -> None:
    """CloudEvents 1.0, structured and binary; what the event says itself goes before the envelope's id and time."""
    own: Content = {"lead_id": "L", "source": "web"}
    envelope: Content = {"specversion": "1.0", "id": "e", "time": "2026-01-01T00:00:00Z", "source": "/crm"}
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"e"), ("ce_time", b"2026-01-01T00:00:00Z")]
    plain = read_event("lead_created", json.dumps({**LEAD, "source": "web"}).encode(), DEFAULTS)
    packed = base64.b64encode(json.dumps(own).encode()).decode()
    for data in ({"data": own}, {"data_base64": packed}, {"data": "", "data_base64": packed}):
        assert read_event("lead_created", json.dumps({**envelope, **data}).encode(), DEFAULTS) == plain
    assert read_event("lead_created", json.dumps(own).encode(), DEFAULTS, headers) == plain
    both = {**own, "event_id": "mine", "occurred_at": "2026-02-01T00:00:00Z"}
    read = read_event("lead_created", json.dumps({**envelope, "data": both}).encode(), DEFAULTS)
    assert (read.event_id, read.occurred_at.month, read.source) == ("mine", 2, "web")
    without: list[Content] = [{"specversion": "0.3", "data": own}, {"data_base64": "?"}, {}, {"data": []}]
    for broken in without:
        assert refused("lead_created", json.dumps({**envelope, **broken}).encode(), DEFAULTS)
    for other in ([("ce_specversion", b"0.3")], [("ce_specversion", b"\xff")]):
        with pytest.raises(RefusedError):
            read_event("lead_created", json.dumps(LEAD).encode(), DEFAULTS, other)


@pytest.mark.parametrize(
    ("topic", "content"),
    [
        ("lead_created", {**LEAD, "note": json.loads("[" * 100 + "]" * 100)}),
        ("quote_sent", {**QUOTE, "amount": "0." + "1" * 101}),
        ("quote_sent", {**QUOTE, "amount": "0." + "0" * 200 + "1"}),
    ],
)
def test_bounds_of_form(topic: str, content: dict[str, object]) -> None:
    """At most 100 levels and 100 decimals; brackets in a text and zeros at the end are none."""
    assert refused(topic, json.dumps(content).encode(), DEFAULTS)
    for fine in ({"note": "[" * 200}, {"note": json.loads("[" * 99 + "]" * 99)}, {"amount": "1." + "0" * 300}):
        assert not refused("quote_sent", json.dumps({**QUOTE, **fine}).encode(), DEFAULTS)


def test_a_missing_rate_is_told_apart() -> None:
    """What could be used with a rate is another refusal than what never can."""
    value = json.dumps({**QUOTE, "currency": "USD"}).encode()
    with pytest.raises(NoRateError):
        read_event("quote_sent", value, DEFAULTS)
    rated = Definitions(rates=(Rate(currency="USD", since=date(2020, 1, 1), per_euro=Decimal("1.1")),))
    assert read_event("quote_sent", value, rated).by_rate
    assert not read_event("quote_sent", json.dumps(QUOTE).encode(), rated).by_rate
    assert read_event("quote_sent", json.dumps(QUOTE).encode(), Definitions(currency="USD", rates=rated.rates)).by_rate


def test_tables_of_cells() -> None:
    """Days and hours by month, and the totals of the days; hours do not count twice."""
    cells = {("2026-10-05", "f"): 2, ("2026-10-06", "f"): 3, ("2026-10-05T09", "f"): 2, ("2026-11-01", "g"): 1}
    assert tables_of(cells) == {
        "month:2026-10": {"f": 5},
        "days:2026-10": {"05|f": 2, "06|f": 3},
        "hours:2026-10": {"05T09|f": 2},
        "month:2026-11": {"g": 1},
        "days:2026-11": {"01|g": 1},
    }
