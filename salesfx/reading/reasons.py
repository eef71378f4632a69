"""Why something counts where it counts, and the events that decide it."""

from enum import StrEnum
from typing import NamedTuple

from salesfx.account import EXPANSION, PlannedQuote, WonDeal
from salesfx.attribution import Contribution
from salesfx.business_time import iso_day
from salesfx.kpi import UNASSIGNED, qualifying_quotes, source_of
from salesfx.lead import ACCOUNT, DEAL, LEAD, QUOTE, DealFacts, Lead, QuoteFacts
from salesfx.rules import Rules


class About(StrEnum):
    """What of a contribution a reason explains, or an event decides."""

    DATE = "date"
    VALUE = "value"
    WON = "won"
    """That its lead has become a customer."""
    SALE = "sale"
    CATEGORY = "category"
    ACCOUNT = "account"
    SOURCE = "source"
    SALESPERSON = "salesperson"
    RECORDS = "records"
    """That they do not fit together."""


class Decider(NamedTuple):
    """An entity whose winning event decides something about a contribution."""

    decides: About
    entity: str
    """Reference."""


class Reason(NamedTuple):
    """One reason; `salesfx.language.reasons` has the sentence."""

    about: About
    sentence: str
    """Its name."""
    values: dict[str, str]
    """What is put in."""


class Reasons(NamedTuple):
    """Reasons, and the entities behind them, each once."""

    why: list[Reason]
    deciders: list[Decider]


def reasons(contribution: Contribution, lead: Lead, rules: Rules) -> Reasons:
    """Say why a contribution counts where it counts.

    Args:
        contribution: Of `salesfx.attribution`.
        lead: The state of its lead or stand-in, of the same instant.
        rules: The definitions in force.

    """
    if contribution.metric == "leads":
        found = _of_new_lead(contribution)
    elif contribution.placed is None:
        found = _of_qualified(contribution, lead, rules)
    else:
        found = _of_sale(contribution, contribution.placed.item, lead, rules)
    found.why.append(_source(contribution.lead, lead, rules))
    found.why.append(_salesperson(contribution, lead, rules))
    if contribution.lead.startswith(LEAD):
        found.deciders.append(Decider(About.SOURCE, contribution.lead))
    deciders = {decider.entity: decider for decider in reversed(found.deciders)}
    return Reasons(found.why, list(reversed(deciders.values())))


def not_told(contribution: Contribution) -> Reasons:
    """Say that a lead's record does not tell of a contribution that an account tells of: somebody has changed them."""
    return Reasons([_reason(About.RECORDS, "not_told", lead=contribution.lead)], [])


def _reason(about: About, sentence: str, **values: str) -> Reason:
    return Reason(about, sentence, values)


def _of_new_lead(contribution: Contribution) -> Reasons:
    why = _reason(About.DATE, "came_in", date=contribution.date)
    return Reasons([why], [Decider(About.DATE, contribution.lead)])


def _of_qualified(contribution: Contribution, lead: Lead, rules: Rules) -> Reasons:
    qualifying = [key for _, key in qualifying_quotes(lead, rules)]
    first, latest = qualifying[0], qualifying[-1]
    why = [_reason(About.DATE, "first_quote", date=contribution.date, quote=first)]
    deciders = [Decider(About.DATE, QUOTE + first)]
    if contribution.metric == "qualified_leads_value":
        sent = rules.time.local(lead.quotes[latest].occurred_at).date
        if latest == first:
            why.append(_reason(About.VALUE, "value_of_only_quote"))
        else:
            why.append(_reason(About.VALUE, "value_of_latest_quote", quote=latest, date=sent))
        deciders.append(Decider(About.VALUE, QUOTE + latest))
    elif contribution.metric == "cohort_customers":
        closed, key = min((deal.occurred_at, key) for key, deal in lead.deals.items() if deal.outcome == "won")
        why.append(_reason(About.WON, "customer", deal=key, date=rules.time.local(closed).date))
        deciders.append(Decider(About.WON, DEAL + key))
    return Reasons(why, deciders)


def _of_sale(contribution: Contribution, item: WonDeal | PlannedQuote, lead: Lead, rules: Rules) -> Reasons:
    key, date = contribution.entity.partition(":")[2], contribution.date
    if isinstance(item, WonDeal):
        why = [_reason(About.SALE, "won", date=date)]
        entity: DealFacts | QuoteFacts = lead.deals[key]
    else:
        entity = quote = lead.quotes[key]
        if quote.expected_close_on is None:
            days = str(rules.sales_cycle_days)
            timing = _reason(About.SALE, "planned", date=date, sent=iso_day(item.day), days=days)
        else:
            timing = _reason(About.SALE, "expected", date=date)
        is_of_lead = contribution.lead.startswith(LEAD)
        why = [timing, _reason(About.SALE, "latest_open_quote" if is_of_lead else "open_quote")]
    deciders = [Decider(About.SALE, contribution.entity)]
    category, cover = _category(contribution)
    if cover is not None:
        deciders.append(Decider(About.CATEGORY, DEAL + cover.deal_id))
    return Reasons([*why, category, _account(contribution, entity, lead)], deciders)


def _category(contribution: Contribution) -> tuple[Reason, WonDeal | None]:
    placed = contribution.placed
    assert placed is not None  # noqa: S101 - only sales have a category
    category, item, cover = placed.category, placed.item, placed.decided_by
    if cover is None:
        of_crm = isinstance(item, WonDeal) and item.category is not None
        return _reason(About.CATEGORY, "category_of_crm" if of_crm else "category_first", category=category), None
    sentence = "category_covered" if category == EXPANSION else "category_ended"
    until = iso_day(cover.covered_until)
    return _reason(About.CATEGORY, sentence, category=category, until=until, deal=cover.deal_id), cover


def _account(contribution: Contribution, entity: DealFacts | QuoteFacts, lead: Lead) -> Reason:
    kind = contribution.entity.partition(":")[0]
    if not contribution.account.startswith(ACCOUNT):
        is_of_lead = contribution.lead.startswith(LEAD)
        return _reason(About.ACCOUNT, "account_is_lead" if is_of_lead else "account_is_itself")
    if entity.account_id is not None:
        sentence = f"account_by_{kind}"
    elif lead.facts is not None and lead.facts.account_id is not None:
        sentence = "account_of_lead"
    else:
        sentence = "account_beside"
    return _reason(About.ACCOUNT, sentence, account=contribution.account.removeprefix(ACCOUNT))


def _source(ref: str, lead: Lead, rules: Rules) -> Reason:
    if not ref.startswith(LEAD):
        return _reason(About.SOURCE, "source_without_lead")
    if lead.facts is None:
        return _reason(About.SOURCE, "source_not_come" if lead.own is None else "source_retracted")
    name, written = source_of(ref, lead, rules), lead.facts.source
    if written is None:
        return _reason(About.SOURCE, "source_not_named")
    if written == name:
        return _reason(About.SOURCE, "source", source=name)
    return _reason(About.SOURCE, "source_alias", written=repr(written), source=name)


def _salesperson(contribution: Contribution, lead: Lead, rules: Rules) -> Reason:
    kind, _, key = contribution.entity.partition(":")
    named_by = kind
    if contribution.metric == "leads":
        named = lead.facts.salesperson if lead.facts is not None else None
    elif kind == "lead":
        named, named_by = lead.quotes[qualifying_quotes(lead, rules)[0][1]].salesperson, "first_quote"
    else:
        entity: DealFacts | QuoteFacts = lead.deals[key] if kind == "deal" else lead.quotes[key]
        named = entity.salesperson
    if named is not None:
        return _reason(About.SALESPERSON, f"salesperson_by_{named_by}", salesperson=named)
    if contribution.salesperson == UNASSIGNED and (lead.facts is None or lead.facts.salesperson is None):
        return _reason(About.SALESPERSON, "salesperson_of_nobody")
    return _reason(About.SALESPERSON, "salesperson_of_lead", salesperson=contribution.salesperson)
