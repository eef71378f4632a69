"""The quotes and deals that a lead holds, against their own records."""

from collections.abc import Iterable
from typing import NamedTuple

from salesfx.lead import DEAL, QUOTE, DealFacts, Lead, QuoteFacts, Standing, home_of_deal, home_of_quote


class Held(NamedTuple):
    """A quote or deal that a lead holds."""

    entity: str
    lead: str
    named: str
    """The lead that it names."""
    facts: QuoteFacts | DealFacts


def held_by(ref: str, lead: Lead) -> Iterable[Held]:
    """List what a lead or stand-in holds."""
    for key, quote in lead.quotes.items():
        yield Held(QUOTE + key, ref, home_of_quote(key, quote.lead_id), quote)
    for key, deal in lead.deals.items():
        yield Held(DEAL + key, ref, home_of_deal(key, deal.lead_id, deal.quote_id), deal)


def fault_of(held: Held, standing: Standing | None) -> tuple[str, str] | None:
    """Say what is wrong with an entity that a lead holds: the kind, and a sentence."""
    entity, lead = held.entity, held.lead
    if standing is None:
        return "no_standing", f"{lead} holds {entity}, of which there is no record"
    if not standing.home:
        return "held_though_withdrawn", f"{lead} holds {entity}, which is withdrawn"
    if standing.home != lead:
        return "held_elsewhere", f"{lead} holds {entity}, which lives under {standing.home}"
    if held.named != lead:
        return "names_another_lead", f"{lead} holds {entity}, which names {held.named} as its lead"
    if standing.occurred_at != held.facts.occurred_at:
        return "another_version", f"{lead} holds another version of {entity} than its record says"
    return None
