"""The catalogue of the metrics, and what a lead and an account contribute to them.

A table is the sum of all contributions. They are integers in cells `(when, field)`: `when` is a local date, or for the
lead flow also a local hour; `field` is `metric|dimension`. No clock is read, and nothing depends on the order of events.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from salesfx.account import NEW_ACCOUNT, PlannedQuote, Statement, WonDeal, categorised
from salesfx.business_time import iso_day
from salesfx.lead import ACCOUNT, LEAD, DealFacts, Lead, QuoteFacts
from salesfx.rules import Rules

UNKNOWN, UNATTRIBUTED, UNASSIGNED = "unknown", "unattributed", "unassigned"

Cells = dict[tuple[str, str], int]
"""Contributions by (when, field)."""


class Breakdown(StrEnum):
    """The label by which a metric is broken down, beside the salesperson."""

    SOURCE = "source"
    CATEGORY = "category"


class Metric(NamedTuple):
    """One metric of the tables; exporter, docs, readers and dashboards take it from `CATALOGUE`."""

    name: str
    breakdown: Breakdown
    is_value: bool
    """Whether it is money, kept in hundredths of the reporting currency."""
    months_ahead: int
    """How many months of the future have it."""
    help: str
    """What it counts, in one sentence, without a full stop."""


CATALOGUE: tuple[Metric, ...] = (
    Metric("leads", Breakdown.SOURCE, False, 0, "New leads that entered sales in the month"),
    Metric(
        "qualified_leads",
        Breakdown.SOURCE,
        False,
        0,
        "Leads whose first quote that answers a need, and is no bulk mail, was sent in the month",
    ),
    Metric(
        "qualified_leads_value",
        Breakdown.SOURCE,
        True,
        0,
        "Value of the month's qualified leads by the latest qualifying quote of each, in the reporting currency",
    ),
    Metric("new_customers", Breakdown.SOURCE, False, 0, "Deals won in the month that opened a new account"),
    Metric(
        "cohort_customers",
        Breakdown.SOURCE,
        False,
        0,
        "Leads qualified in the month that have a won deal by now, whenever it closed",
    ),
    Metric("booked_sales", Breakdown.CATEGORY, False, 0, "Deals won in the month"),
    Metric(
        "booked_sales_value",
        Breakdown.CATEGORY,
        True,
        0,
        "Value of the deals won in the month, in the reporting currency",
    ),
    Metric(
        "planned_sales",
        Breakdown.CATEGORY,
        False,
        3,
        "Open qualifying quotes expected to close in the month, one a lead",
    ),
    Metric(
        "planned_sales_value",
        Breakdown.CATEGORY,
        True,
        3,
        "Value of the open qualifying quotes expected to close in the month, in the reporting currency",
    ),
)


class Summary(NamedTuple):
    """What a lead contributes by itself, and what it says about accounts."""

    cells: Cells
    statements: dict[str, Statement]
    """By the reference of the account; a lead without an account is its own, under its own reference."""


def summarise(ref: str, lead: Lead, rules: Rules) -> Summary:
    """Work out what a lead or stand-in contributes.

    Args:
        ref: Its reference.
        lead: Its state.
        rules: The definitions in force.

    """
    cells: Cells = {}
    add_flow(cells, 1, lead, rules)
    return Summary(cells, add_sales(cells, 1, ref, lead, rules))


def account_cells(statements: Iterable[Statement], rules: Rules) -> Cells:
    """Work out what an account's won deals and planned quotes contribute."""
    cells: Cells = {}
    add_account(cells, 1, statements, rules)
    return cells


def add_flow(cells: Cells, sign: int, lead: Lead, rules: Rules) -> None:
    """Add to cells that a lead came, or with -1 take it from them: what its own event alone decides."""
    own, facts = lead.own, lead.facts
    if own is None or facts is None:  # a stand-in, or it is withdrawn
        return
    local = rules.time.local(own.occurred_at)
    by_source, by_person = _lead_fields("leads", rules.source(facts.source), facts.salesperson or UNASSIGNED)
    for cell in ((local.date, by_source), (local.date, by_person), (local.hour, by_source)):
        cells[cell] = cells.get(cell, 0) + sign


def add_sales(cells: Cells, sign: int, ref: str, lead: Lead, rules: Rules) -> dict[str, Statement]:
    """Add to cells what the quotes and deals of a lead or stand-in make of it, or with -1 take it from them.

    Returns:
        What it says about accounts, by their references; a lead without an account is its own.

    """
    source = source_of(ref, lead, rules)
    owner = UNASSIGNED if lead.facts is None else lead.facts.salesperson or UNASSIGNED
    qualifying = qualifying_quotes(lead, rules)
    if qualifying and ref.startswith(LEAD):
        _add_qualified(cells, sign, lead, qualifying, source, owner, rules)
    return _statements(ref, lead, qualifying, source, owner, rules)


def add_account(cells: Cells, sign: int, statements: Iterable[Statement], rules: Rules) -> None:
    """Add to cells what an account's won deals and planned quotes contribute, or with -1 take it from them."""
    for item, category, _ in categorised(statements):
        if isinstance(item, WonDeal):
            metric, when = "booked_sales", rules.time.local(item.occurred_at).date
            if category == NEW_ACCOUNT:
                _add(cells, when, _lead_fields("new_customers", item.source, item.salesperson), sign)
        else:
            metric, when = "planned_sales", iso_day(item.expected_day)
        counts, values = _sale_fields(metric, category, item.salesperson)
        _add(cells, when, counts, sign)
        _add(cells, when, values, sign * item.hundredths)


_REMEMBERED = 20_000


@lru_cache(maxsize=_REMEMBERED)
def _lead_fields(metric: str, source: str, salesperson: str) -> tuple[str, str]:
    """Name the fields of a metric that is broken down by source."""
    return f"{metric}|source={source}", f"{metric}|salesperson={salesperson}"


@lru_cache(maxsize=_REMEMBERED)
def _sale_fields(metric: str, category: str, salesperson: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Name the fields of a metric that is broken down by category: its counts, its values."""
    by_category, by_person = f"category={category}", f"category={category},salesperson={salesperson}"
    return (
        (f"{metric}|{by_category}", f"{metric}|{by_person}"),
        (f"{metric}_value|{by_category}", f"{metric}_value|{by_person}"),
    )


def _add(cells: Cells, when: str, fields: tuple[str, str], number: int) -> None:
    for field in fields:
        cell = when, field
        cells[cell] = cells.get(cell, 0) + number


def source_of(ref: str, lead: Lead, rules: Rules) -> str:
    """Name the source of what lives under a lead or stand-in."""
    if not ref.startswith(LEAD):
        return UNATTRIBUTED
    return UNKNOWN if lead.facts is None else rules.source(lead.facts.source)


def qualifying_quotes(lead: Lead, rules: Rules) -> list[tuple[int, str]]:
    """Give (sent at, id) of the quotes that answer a need and are no bulk mail, in the order of time."""
    qualifying = []
    for key, quote in lead.quotes.items():
        if rules.qualifies(quote):
            qualifying.append((quote.occurred_at, key))
    qualifying.sort()
    return qualifying


def _add_qualified(
    cells: Cells, sign: int, lead: Lead, qualifying: list[tuple[int, str]], source: str, owner: str, rules: Rules
) -> None:
    """Count a lead once: on the day and at the salesperson of its first qualifying quote, at the value of its latest."""
    first, latest = lead.quotes[qualifying[0][1]], lead.quotes[qualifying[-1][1]]
    when, salesperson = rules.time.local(first.occurred_at).date, first.salesperson or owner
    _add(cells, when, _lead_fields("qualified_leads", source, salesperson), sign)
    _add(cells, when, _lead_fields("qualified_leads_value", source, salesperson), sign * latest.hundredths)
    if lead.deals and any(deal.outcome == "won" for deal in lead.deals.values()):
        _add(cells, when, _lead_fields("cohort_customers", source, salesperson), sign)


def _statements(
    ref: str, lead: Lead, qualifying: list[tuple[int, str]], source: str, owner: str, rules: Rules
) -> dict[str, Statement]:
    fallback = fallback_account(ref, lead)
    won: dict[str, list[WonDeal]] = {}
    for key, deal in lead.deals.items():
        if deal.outcome == "won":
            account = fallback if deal.account_id is None else ACCOUNT + deal.account_id
            won.setdefault(account, []).append(_won_deal(key, deal, source, owner, rules))
    statements = {account: Statement(tuple(sorted(deals))) for account, deals in won.items()} if won else {}
    key_of_planned = _planned(lead, qualifying)
    if key_of_planned is not None:
        quote = lead.quotes[key_of_planned]
        account = fallback if quote.account_id is None else ACCOUNT + quote.account_id
        deals = statements[account].won if account in statements else ()
        statements[account] = Statement(deals, (_planned_quote(key_of_planned, quote, owner, rules),))
    return statements


def fallback_account(ref: str, lead: Lead) -> str:
    """Name the account of a deal or quote that names none itself.

    Its lead's; else the one named by the latest quote or deal of its lead that names one, whatever its outcome (on equal
    ids the quote is the later); else the lead itself.
    """
    if lead.facts is not None and lead.facts.account_id is not None:
        return ACCOUNT + lead.facts.account_id
    latest, account_id = _NEVER, None
    kinds: tuple[Mapping[str, DealFacts | QuoteFacts], ...] = (lead.deals, lead.quotes)
    for rank, entities in enumerate(kinds):
        for key, entity in entities.items():
            if entity.account_id is not None and (place := (entity.occurred_at, key, rank)) > latest:
                latest, account_id = place, entity.account_id
    return ref if account_id is None else ACCOUNT + account_id


_NEVER = (-(2**63), "", 0)


def _planned(lead: Lead, qualifying: list[tuple[int, str]]) -> str | None:
    """Name the latest qualifying quote that no deal has closed.

    A deal, won or lost, closes every quote of its lead sent no later than it closed, and the quote that it names.
    """
    if not qualifying or not lead.deals:
        return qualifying[-1][1] if qualifying else None
    closing = [deal for deal in lead.deals.values() if deal.outcome != "open"]
    last_closed = max((deal.occurred_at for deal in closing), default=None)
    named = {deal.quote_id for deal in closing}
    for sent_at, key in reversed(qualifying):
        if last_closed is not None and sent_at <= last_closed:
            return None
        if key not in named:
            return key
    return None


def _won_deal(key: str, deal: DealFacts, source: str, owner: str, rules: Rules) -> WonDeal:
    day = rules.time.local(deal.occurred_at).day
    covered_until = day + rules.coverage_days if deal.contract_ends_on is None else deal.contract_ends_on
    return WonDeal(
        deal.occurred_at, key, day, covered_until, deal.hundredths, source, deal.salesperson or owner, deal.category
    )


def _planned_quote(key: str, quote: QuoteFacts, owner: str, rules: Rules) -> PlannedQuote:
    day = rules.time.local(quote.occurred_at).day
    expected = day + rules.sales_cycle_days if quote.expected_close_on is None else quote.expected_close_on
    return PlannedQuote(quote.occurred_at, key, day, expected, quote.hundredths, quote.salesperson or owner)
