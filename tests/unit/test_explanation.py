"""From one number to what makes it up, over tables in memory."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salesfx.attribution import METRICS
from salesfx.decoder import Event, decode
from salesfx.definitions import Definitions
from salesfx.kpi import Breakdown
from salesfx.reading import Month, Reader
from salesfx.reading.explanation import (
    NAMES,
    ConversionExplanation,
    Explanation,
    Question,
    QuestionError,
    explain,
)
from salesfx.reading.reader import RecordDamagedError
from salesfx.reading.report import CATEGORIES
from salesfx.reading.state import UnknownEntityError, state
from salesfx.refusal import Refused
from salesfx.rules import Rules
from salesfx.settings import Settings
from salesfx.tables import MemoryTables
from salesfx.tables.store import Commit, Range
from tests.events_strategy import DEFINITIONS, events
from tests.folding import FoldedTables
from tests.worked_example import EVENTS

SETTINGS = Settings(topic_prefix="crm.")
OF_STRATEGY = Settings(source_aliases={"www": "web"}, coverage_days=200, sales_cycle_days=20)


async def test_a_record_that_is_none_is_said_to_be_damaged() -> None:
    """With the way to find which: not a traceback, and not as if Redis were away."""
    tables = await tables_of(list(EVENTS))
    tables.data.records["lead:L1"] = b"12345678not msgpack"
    reader = Reader(tables, SETTINGS)
    with pytest.raises(RecordDamagedError, match="`salesfx audit` names it"):
        await explain(reader, SETTINGS, Question(month=Month(2026, 10), metric="leads"))
    with pytest.raises(RecordDamagedError):
        await state(reader, SETTINGS, "lead", "L1")


async def test_a_name_that_is_no_text_is_refused() -> None:
    """As a shell may pass it on: bytes that are not UTF-8."""
    with pytest.raises(QuestionError, match="is no text"):
        Question(month=Month(2026, 10), metric="leads", source="\udcff")
    with pytest.raises(UnknownEntityError):
        await state(Reader(await tables_of(list(EVENTS)), SETTINGS), SETTINGS, "lead", "\udcff")


async def tables_of(messages: list[tuple[str, bytes]], definitions: Definitions | None = None) -> MemoryTables:
    """Make tables of events that lie in partition 3 at their places in the list."""
    folded = FoldedTables(Rules(definitions or Definitions()))
    decoded: list[Event] = []
    for offset, (topic, value) in enumerate(messages):
        try:
            decoded.append(decode(topic, value, (), 3, offset))
        except Refused:
            continue
    folded.fold(decoded)
    tables = MemoryTables()
    await tables.open(definitions or Definitions())
    await tables.start_at("lead_created", 0, 0)
    seen = dict.fromkeys(folded.records, b"")
    await tables.commit(
        Commit([Range("lead_created", 0, 0, 1)], seen=seen, writes=dict(folded.records), cells=folded.cells)
    )
    return tables


def event(topic: str, **fields: Any) -> tuple[str, bytes]:
    """Write an event."""
    return topic, msgspec.json.encode(fields)


async def explained(tables: MemoryTables, month: str, metric: str, **filters: Any) -> Explanation:
    """Explain a number of one metric, which must be the one that the tables show."""
    question = Question(month=Month.parse(month), metric=metric, **filters)
    answer = await explain(Reader(tables, SETTINGS), SETTINGS, question)
    assert isinstance(answer, Explanation)
    assert answer.exact
    assert answer.number == answer.sum
    return answer


def in_short(answer: Explanation) -> list[tuple[Any, ...]]:
    """Give what a test compares."""
    return [(each.kind, each.id, each.lead, each.account, each.date, each.number) for each in answer.contributions]


def why(answer: Explanation) -> list[str]:
    """Give the reasons of the only contribution, in words."""
    (only,) = answer.contributions
    return [reason.says for reason in only.why]


def places(answer: Explanation) -> list[str]:
    """Give the events of the only contribution."""
    (only,) = answer.contributions
    return [f"{at.decides} {at.kind} {at.id} {at.topic}[{at.partition}]@{at.offset}" for at in only.events]


# The worked example.


async def test_the_lead_of_october() -> None:
    """It came on 1 October there, and its source is written otherwise."""
    answer = await explained(await tables_of(EVENTS), "2026-10", "leads")
    assert in_short(answer) == [("lead", "L1", "L1", "A1", "2026-10-01", 1)]
    assert why(answer) == [
        "came in on 2026-10-01",
        "source 'Web' counts as web",
        "nobody names a salesperson: unassigned",
    ]
    assert places(answer) == ["date lead L1 crm.lead_created[3]@0"]


async def test_the_value_is_of_the_latest_quote_on_the_day_of_the_first() -> None:
    """Both are named, with their events."""
    answer = await explained(await tables_of(EVENTS), "2026-10", "qualified_leads_value")
    assert (answer.number, answer.currency) == ("1200.00", "EUR")
    assert why(answer)[:2] == ["first qualifying quote on 2026-10-05: Q1", "value of its latest, Q2 sent 2026-11-03"]
    assert places(answer) == [
        "date quote Q1 crm.quote_sent[3]@1",
        "value quote Q2 crm.quote_sent[3]@2",
        "source lead L1 crm.lead_created[3]@0",
    ]


async def test_the_cohort_names_the_won_deal() -> None:
    """Though it is of another month."""
    answer = await explained(await tables_of(EVENTS), "2026-10", "cohort_customers")
    assert why(answer)[:2] == ["first qualifying quote on 2026-10-05: Q1", "won deal D1 of 2026-11-18"]


@pytest.mark.parametrize(
    ("month", "deal", "words"),
    [
        ("2026-06", "D0", "new account: no earlier won deal"),
        ("2026-11", "D1", "expansion: covered until 2027-06-01 by D0"),
        ("2027-01", "D2", "expansion: covered until 2027-11-18 by D1"),
        ("2028-03", "D3", "returning: coverage by D2 ended 2028-01-10"),
    ],
)
async def test_the_category_of_each_deal(month: str, deal: str, words: str) -> None:
    """With the deal whose coverage decides."""
    answer = await explained(await tables_of(EVENTS), month, "booked_sales_value")
    assert in_short(answer)[0][:2] == ("deal", deal)
    assert why(answer)[1:3] == [words, "account A1: named by the deal"]
    assert why(answer)[0].startswith(f"won on {month}-")
    decided = [at for at in places(answer) if at.startswith("category")]
    assert len(decided) == (0 if month == "2026-06" else 1)


async def test_planned_before_the_deal() -> None:
    """Without an expected date: sent and the sales cycle; with one: that."""
    answer = await explained(await tables_of(EVENTS[:4]), "2026-12", "planned_sales_value", category="new_account")
    assert in_short(answer) == [("quote", "Q2", "L1", None, "2026-12-03", "1200.00")]
    assert why(answer) == [
        "planned on 2026-12-03: sent 2026-11-03 + 30 days",
        "the latest qualifying quote of its lead that no deal has closed",
        "new account: no earlier won deal",
        "nobody names an account: the lead is its own",
        "source 'Web' counts as web",
        "nobody names a salesperson: unassigned",
    ]
    answer = await explained(await tables_of(EVENTS[:2]), "2026-11", "planned_sales")
    assert why(answer)[0] == "expected to close on 2026-11-20"


async def test_conversion_is_explained_by_its_parts() -> None:
    """June's new customer came without a lead; October's qualified lead is there."""
    tables = await tables_of(EVENTS)
    question = Question(month=Month(2026, 6), metric="conversion")
    june = await explain(Reader(tables, SETTINGS), SETTINGS, question)
    assert isinstance(june, ConversionExplanation)
    assert (june.ratio, june.new_customers.number, june.qualified_leads.number, june.exact) == (None, 1, 0, True)
    assert june.new_customers.contributions[0].source == "unattributed"
    october = await explain(Reader(tables, SETTINGS), SETTINGS, Question(month=Month(2026, 10), metric="conversion"))
    assert isinstance(october, ConversionExplanation)
    assert (october.ratio, october.qualified_leads.contributions[0].id) == (0.0, "L1")


# What can happen to entities.


LEAD = {"event_id": "1", "occurred_at": "2026-10-01T10:00:00Z", "lead_id": "L1", "source": "fair", "salesperson": "ann"}
QUOTE = {
    "event_id": "2", "occurred_at": "2026-10-05T10:00:00Z", "quote_id": "Q1", "lead_id": "L1", "amount": 100,
    "currency": "EUR", "need": "crm",
}  # fmt: skip
DEAL = {
    "event_id": "3", "occurred_at": "2026-10-09T10:00:00Z", "deal_id": "D1", "outcome": "won", "amount": 90,
    "currency": "EUR",
}  # fmt: skip


async def test_a_quote_that_moved_counts_at_its_new_lead_by_its_new_event() -> None:
    """And the old lead's number does not name it any more."""
    moved = {**QUOTE, "lead_id": "L2", "revision": 1, "event_id": "9"}
    tables = await tables_of(
        [event("lead_created", **LEAD), event("quote_sent", **QUOTE), event("quote_sent", **moved)]
    )
    answer = await explained(tables, "2026-10", "qualified_leads")
    assert in_short(answer)[0][:3] == ("lead", "L2", "L2")
    assert why(answer)[1] == "the event of its lead has not come: its source is unknown"
    assert places(answer) == ["date quote Q1 crm.quote_sent[3]@2"]
    shown = await state(Reader(tables, SETTINGS), SETTINGS, "quote", "Q1")
    assert shown.entity is not None
    assert shown.entity.version is not None
    assert (shown.entity.lives_in, shown.entity.version.revision, shown.entity.version.offset) == ("lead:L2", 1, 2)


async def test_the_quote_of_a_retracted_lead_stays_at_source_unknown() -> None:
    """And the lead itself counts no more."""
    gone = {"event_id": "8", "occurred_at": LEAD["occurred_at"], "lead_id": "L1", "revision": 1, "retracted": True}
    tables = await tables_of(
        [event("lead_created", **LEAD), event("quote_sent", **QUOTE), event("lead_created", **gone)]
    )
    assert (await explained(tables, "2026-10", "leads")).count == 0
    answer = await explained(tables, "2026-10", "qualified_leads", source="unknown")
    assert "the event of its lead is retracted: its source is unknown" in why(answer)
    assert "source lead L1 crm.lead_created[3]@2" in places(answer)
    shown = await state(Reader(tables, SETTINGS), SETTINGS, "lead", "L1")
    assert shown.entity is not None
    assert shown.entity.version is not None
    assert shown.entity.version.retracted
    assert [quote.id for quote in shown.quotes] == ["Q1"]


async def test_a_deal_without_a_lead_has_none() -> None:
    """Nor an account, and says so."""
    tables = await tables_of([event("deal_closed", **DEAL)])
    answer = await explained(tables, "2026-10", "new_customers", source="unattributed")
    assert in_short(answer) == [("deal", "D1", None, None, "2026-10-09", 1)]
    assert "nobody names an account: it is its own" in why(answer)
    assert "has no lead: its source is unattributed" in why(answer)


async def test_the_crms_own_category() -> None:
    """Counts for the first deal, and is named as the reason."""
    deal = {**DEAL, "account_id": "A", "category": "returning"}
    answer = await explained(await tables_of([event("deal_closed", **deal)]), "2026-10", "booked_sales")
    assert why(answer)[1] == "returning by the CRM's own category: the account has no earlier won deal here"


async def test_salespeople_of_event_lead_and_nobody() -> None:
    """Each is named with where it comes from, and is a filter."""
    tables = await tables_of([event("lead_created", **LEAD), event("quote_sent", **{**QUOTE, "salesperson": "bob"})])
    assert "salesperson ann: named by the lead" in why(await explained(tables, "2026-10", "leads", salesperson="ann"))
    answer = await explained(tables, "2026-10", "qualified_leads", salesperson="bob")
    assert "salesperson bob: named by the first qualifying quote" in why(answer)
    assert (await explained(tables, "2026-10", "qualified_leads", salesperson="ann")).number == 0


async def test_the_limit_changes_neither_sum_nor_count() -> None:
    """The greatest stay, the later first where they are equal."""
    deals = [
        event("deal_closed", **{**DEAL, "deal_id": f"D{n}", "amount": n % 7, "occurred_at": f"2026-10-{n % 28 + 1:02}T09:00:00Z"})
        for n in range(3000)
    ]  # fmt: skip
    tables = await tables_of(deals)
    whole = await explained(tables, "2026-10", "booked_sales_value")
    some = await explained(tables, "2026-10", "booked_sales_value", limit=7)
    assert (some.count, some.sum, len(some.contributions)) == (3000, whole.sum, 7)
    assert some.contributions == whole.contributions[:7]
    assert {each.number for each in some.contributions} == {"6.00"}
    assert (await explained(tables, "2026-10", "booked_sales_value", limit=0)).contributions == []


# Questions without a number, and numbers that are wrong.


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ({"metric": "revenue"}, "'revenue' is no metric: it is one of leads, "),
        ({"metric": "leads", "category": "expansion"}, "leads is not broken down by category; it has source or"),
        ({"metric": "booked_sales", "source": "web"}, "booked_sales is not broken down by source; it has category"),
        ({"metric": "conversion", "category": "expansion"}, "conversion is not broken down by category"),
        ({"metric": "leads", "source": "web", "salesperson": "ann"}, "each by itself"),
        ({"metric": "booked_sales", "category": "x"}, "'x' is no category"),
    ],
)
def test_a_number_that_does_not_exist_is_refused(question: Mapping[str, str], sentence: str) -> None:
    """With a sentence that says what there is."""
    with pytest.raises(QuestionError, match=sentence):
        Question(month=Month(2026, 10), **question)  # type: ignore[arg-type]


async def test_a_table_that_is_wrong_is_seen() -> None:
    """The number is what the tables show, and it is not the sum."""
    tables = await tables_of(EVENTS)
    tables.data.tables["month:2026-11"]["booked_sales_value|category=expansion"] += 1
    question = Question(month=Month(2026, 11), metric="booked_sales_value")
    answer = await explain(Reader(tables, SETTINGS), SETTINGS, question)
    assert isinstance(answer, Explanation)
    assert (answer.exact, answer.number, answer.sum) == (False, "1150.01", "1150.00")


async def test_an_account_that_tells_of_what_its_lead_does_not_know_is_no_crash() -> None:
    """It is shown, and points to the audit."""
    tables = await tables_of(EVENTS)
    del tables.data.records["lead:L1"]
    question = Question(month=Month(2026, 11), metric="booked_sales")
    answer = await explain(Reader(tables, SETTINGS), SETTINGS, question)
    assert isinstance(answer, Explanation)
    assert why(answer) == ["the record of lead:L1 does not tell of it; run `salesfx audit`"]


@settings(max_examples=120, deadline=None)
@given(st.lists(events, max_size=14))
def test_every_number_of_every_world_is_the_sum_of_its_contributions(messages: list[tuple[str, bytes]]) -> None:
    """Whole, and by each label and salesperson: what the prefilter leaves out contributes nothing."""

    async def check() -> None:
        tables = await tables_of(messages, DEFINITIONS)
        reader = Reader(tables, OF_STRATEGY)
        snapshot = await reader.snapshot()
        for text in snapshot.months:
            month = Month.parse(text)
            for metric in NAMES:
                by_category = metric in METRICS and METRICS[metric].breakdown is Breakdown.CATEGORY
                labels = [{"category": name} for name in CATEGORIES] if by_category else [{"source": "web"}]
                if by_category:
                    labels.append({"category": "expansion", "salesperson": "maria"})
                for filters in ({}, *labels, {"salesperson": "unassigned"}):
                    question = msgspec.convert({"month": month, "metric": metric, **filters}, Question)
                    assert (await explain(reader, OF_STRATEGY, question)).exact, (text, metric, filters)

    asyncio.run(check())


# The state of one entity.


async def test_the_state_of_a_deal() -> None:
    """Its version, its lead, and what it contributes to or decides."""
    tables = await tables_of(EVENTS)
    shown = await state(Reader(tables, SETTINGS), SETTINGS, "deal", "D1")
    assert shown.entity is not None
    assert shown.entity.fields["value"] == "1150.00"
    assert shown.lead is not None
    assert (shown.lead.id, shown.accounts) == ("L1", ["A1"])
    found = {(each.month, each.metric, each.kind, each.id) for each in shown.contributes}
    assert ("2026-11", "booked_sales_value", "deal", "D1") in found
    assert ("2026-10", "cohort_customers", "lead", "L1") in found
    assert ("2027-01", "booked_sales", "deal", "D2") in found, "its coverage makes D2 an expansion"
    assert not any(month == "2026-06" for month, _, _, _ in found)


async def test_the_state_of_an_account() -> None:
    """Its deals in the order of time, however they came."""
    shown = await state(Reader(await tables_of(EVENTS), SETTINGS), SETTINGS, "account", "A1")
    assert [(sale.id, sale.category, sale.decided_by, sale.covers_until) for sale in shown.sales] == [
        ("D0", "new_account", None, "2027-06-01"),
        ("D1", "expansion", "D0", "2027-11-18"),
        ("D2", "expansion", "D1", "2028-01-10"),
        ("D3", "returning", "D2", "2029-03-01"),
    ]
    assert {(each.month, each.metric) for each in shown.contributes} >= {("2026-06", "new_customers")}


async def test_the_state_of_a_retracted_quote() -> None:
    """It lives nowhere and contributes to nothing; its version stands."""
    gone = {"event_id": "8", "occurred_at": QUOTE["occurred_at"], "quote_id": "Q1", "revision": 1, "retracted": True}
    tables = await tables_of([event("quote_sent", **QUOTE), event("quote_sent", **gone)])
    shown = await state(Reader(tables, SETTINGS), SETTINGS, "quote", "Q1")
    assert shown.entity is not None
    assert shown.entity.version is not None
    assert (shown.entity.version.retracted, shown.entity.lives_in, shown.contributes) == (True, None, [])


@pytest.mark.parametrize("kind", ["lead", "quote", "deal", "account"])
async def test_an_unknown_id_is_said(kind: str) -> None:
    """With exit status 1."""
    with pytest.raises(UnknownEntityError, match=f"there is no {kind} 'nobody'") as raised:
        await state(Reader(await tables_of(EVENTS), SETTINGS), SETTINGS, kind, "nobody")
    assert raised.value.exit_status == 1
