"""Why something counts where it counts, in words, and the events that decide it."""

from typing import NamedTuple

from salesfx.account import EXPANSION, PlannedQuote, WonDeal
from salesfx.attribution import Contribution
from salesfx.business_time import iso_day
from salesfx.kpi import UNASSIGNED, UNATTRIBUTED, UNKNOWN, qualifying_quotes, source_of
from salesfx.lead import ACCOUNT, DEAL, LEAD, QUOTE, DealFacts, Lead, QuoteFacts
from salesfx.rules import Rules


class Decider(NamedTuple):
    """An entity whose winning event decides something about a contribution."""

    decides: str
    entity: str
    """Reference."""


class Reasons(NamedTuple):
    """Sentences without a full stop, and the entities behind them, each once."""

    why: list[str]
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
    found.why.append(_source_words(contribution.lead, lead, rules))
    found.why.append(_salesperson_words(contribution, lead, rules))
    if contribution.lead.startswith(LEAD):
        found.deciders.append(Decider("source", contribution.lead))
    deciders = {decider.entity: decider for decider in reversed(found.deciders)}
    return Reasons(found.why, list(reversed(deciders.values())))


def _of_new_lead(contribution: Contribution) -> Reasons:
    return Reasons([f"came in on {contribution.date}"], [Decider("date", contribution.lead)])


def _of_qualified(contribution: Contribution, lead: Lead, rules: Rules) -> Reasons:
    qualifying = [key for _, key in qualifying_quotes(lead, rules)]
    first, latest = qualifying[0], qualifying[-1]
    why = [f"first qualifying quote on {contribution.date}: {first}"]
    deciders = [Decider("date", QUOTE + first)]
    if contribution.metric == "qualified_leads_value":
        sent = rules.time.local(lead.quotes[latest].occurred_at).date
        why[0] += f"; value of {'it, its only one' if latest == first else f'its latest, {latest} sent {sent}'}"
        deciders.append(Decider("value", QUOTE + latest))
    elif contribution.metric == "cohort_customers":
        closed, key = min((deal.occurred_at, key) for key, deal in lead.deals.items() if deal.outcome == "won")
        why.append(f"won deal {key} of {rules.time.local(closed).date}")
        deciders.append(Decider("won", DEAL + key))
    return Reasons(why, deciders)


def _of_sale(contribution: Contribution, item: WonDeal | PlannedQuote, lead: Lead, rules: Rules) -> Reasons:
    key = contribution.entity.partition(":")[2]
    if isinstance(item, WonDeal):
        why = [f"won on {contribution.date}"]
        entity: DealFacts | QuoteFacts = lead.deals[key]
    else:
        entity = quote = lead.quotes[key]
        if quote.expected_close_on is None:
            timing = f"planned on {contribution.date}: sent {iso_day(item.day)} + {rules.sales_cycle_days} days"
        else:
            timing = f"expected to close on {contribution.date}"
        why = [timing, "the latest qualifying quote of its lead that no deal has closed"]
        if not contribution.lead.startswith(LEAD):
            why[1] = "no deal has closed it"
    deciders = [Decider("sale", contribution.entity)]
    category, cover = _category_words(contribution)
    if cover is not None:
        deciders.append(Decider("category", DEAL + cover.deal_id))
    return Reasons([*why, category, _account_words(contribution, entity, lead)], deciders)


def _category_words(contribution: Contribution) -> tuple[str, WonDeal | None]:
    placed = contribution.placed
    assert placed is not None  # noqa: S101 - only sales have a category
    name, item, cover = placed.category.replace("_", " "), placed.item, placed.decided_by
    if cover is None:
        if isinstance(item, WonDeal) and item.category is not None:
            return f"{name} by the CRM's own category: the account has no earlier won deal here", None
        return f"{name}: no earlier won deal", None
    until = iso_day(cover.covered_until)
    if placed.category == EXPANSION:
        return f"{name}: covered until {until} by {cover.deal_id}", cover
    return f"{name}: coverage by {cover.deal_id} ended {until}", cover


def _account_words(contribution: Contribution, entity: DealFacts | QuoteFacts, lead: Lead) -> str:
    kind = contribution.entity.partition(":")[0]
    if not contribution.account.startswith(ACCOUNT):
        return (
            "nobody names an account: " + ("the lead" if contribution.lead.startswith(LEAD) else "it") + " is its own"
        )
    account = contribution.account.removeprefix(ACCOUNT)
    if entity.account_id is not None:
        return f"account {account}: named by the {kind}"
    if lead.facts is not None and lead.facts.account_id is not None:
        return f"account {account}: its lead's"
    return f"account {account}: named by the latest quote or deal beside it that names one"


def _source_words(ref: str, lead: Lead, rules: Rules) -> str:
    if not ref.startswith(LEAD):
        return f"has no lead: its source is {UNATTRIBUTED}"
    if lead.facts is None:
        state = "has not come" if lead.own is None else "is retracted"
        return f"the event of its lead {state}: its source is {UNKNOWN}"
    name, written = source_of(ref, lead, rules), lead.facts.source
    if written is None:
        return f"the lead names no source: it is {UNKNOWN}"
    return f"source {name}" if written == name else f"source {written!r} counts as {name}"


def _salesperson_words(contribution: Contribution, lead: Lead, rules: Rules) -> str:
    kind, _, key = contribution.entity.partition(":")
    named_by = kind
    if contribution.metric == "leads":
        named = lead.facts.salesperson if lead.facts is not None else None
    elif kind == "lead":
        named, named_by = lead.quotes[qualifying_quotes(lead, rules)[0][1]].salesperson, "first qualifying quote"
    else:
        entity: DealFacts | QuoteFacts = lead.deals[key] if kind == "deal" else lead.quotes[key]
        named = entity.salesperson
    if named is not None:
        return f"salesperson {named}: named by the {named_by}"
    if contribution.salesperson == UNASSIGNED and (lead.facts is None or lead.facts.salesperson is None):
        return f"nobody names a salesperson: {UNASSIGNED}"
    return f"salesperson {contribution.salesperson}: its lead's"
