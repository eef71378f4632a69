"""Who makes up a number: the contributions that the tables add up, each still with its lead, quote or deal.

`salesfx.kpi` adds the same things up without names, because the worker needs sums only. The law that both agree is tested:
for every world of events the contributions, added up, are the cells.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from salesfx.account import NEW_ACCOUNT, Categorised, Statement, WonDeal, categorised
from salesfx.business_time import iso_day
from salesfx.kpi import CATALOGUE, UNASSIGNED, Breakdown, Cells, fallback_account, qualifying_quotes, source_of
from salesfx.lead import DEAL, LEAD, QUOTE, Lead
from salesfx.rules import Rules

METRICS = {metric.name: metric for metric in CATALOGUE}
LEAD_METRICS = frozenset({"leads", "qualified_leads", "qualified_leads_value", "cohort_customers"})
"""What leads contribute by themselves; all else comes from accounts."""


class Contribution(NamedTuple):
    """What one lead, quote or deal adds to one number."""

    metric: str
    date: str
    """Local date on which it counts."""
    number: int
    """1, or hundredths of the reporting currency where the metric is money."""
    entity: str
    """Reference of the lead, quote or deal."""
    lead: str
    """Reference of the lead or stand-in that it is or lives under."""
    account: str
    """Reference of its account; of a lead that is its own, the lead's."""
    source: str | None
    """None for planned sales, of whose source the account is not told."""
    category: str | None
    """None where the metric is not broken down by it."""
    salesperson: str
    hour: str = ""
    """Local hour of a new lead."""
    placed: Categorised | None = None
    """What decided its category."""

    @property
    def rank(self) -> tuple[int, int, str]:
        """Put the greatest amounts first, then the latest, then by reference."""
        return -self.number, -int(self.date.replace("-", "")), self.entity

    def cells(self) -> Cells:
        """Give the cells that it is added to."""
        metric, person = self.metric, f"salesperson={self.salesperson}"
        if METRICS[metric].breakdown is Breakdown.CATEGORY:
            label = f"category={self.category}"
            return {
                (self.date, f"{metric}|{label}"): self.number,
                (self.date, f"{metric}|{label},{person}"): self.number,
            }
        cells = {
            (self.date, f"{metric}|source={self.source}"): self.number,
            (self.date, f"{metric}|{person}"): self.number,
        }
        if self.hour:
            cells[self.hour, f"{metric}|source={self.source}"] = self.number
        return cells


def of_lead(ref: str, lead: Lead, rules: Rules) -> Iterator[Contribution]:
    """Give what a lead contributes by itself; a stand-in is no lead and contributes nothing.

    Args:
        ref: Its reference.
        lead: Its state.
        rules: The definitions in force.

    """
    if not ref.startswith(LEAD):
        return
    source, account = source_of(ref, lead, rules), fallback_account(ref, lead)
    owner = UNASSIGNED if lead.facts is None else lead.facts.salesperson or UNASSIGNED
    if lead.facts is not None and lead.own is not None:
        local = rules.time.local(lead.own.occurred_at)
        yield Contribution("leads", local.date, 1, ref, ref, account, source, None, owner, local.hour)
    qualifying = qualifying_quotes(lead, rules)
    if not qualifying:
        return
    first, latest = lead.quotes[qualifying[0][1]], lead.quotes[qualifying[-1][1]]
    date, salesperson = rules.time.local(first.occurred_at).date, first.salesperson or owner
    numbers = [("qualified_leads", 1), ("qualified_leads_value", latest.hundredths)]
    if any(deal.outcome == "won" for deal in lead.deals.values()):
        numbers.append(("cohort_customers", 1))
    for metric, number in numbers:
        yield Contribution(metric, date, number, ref, ref, account, source, None, salesperson)


def of_account(ref: str, statements: Mapping[str, Statement], rules: Rules) -> Iterator[Contribution]:
    """Give what an account's won deals and planned quotes contribute, in the order of time.

    Args:
        ref: The account's reference, or that of the lead or stand-in that is its own account.
        statements: What leads say about it, by reference of the lead.
        rules: The definitions in force.

    """
    lead_of = {id(item): lead for lead, said in statements.items() for item in (*said.won, *said.planned)}
    for placed in categorised(statements.values()):
        item, category = placed.item, placed.category
        lead = lead_of[id(item)]
        if isinstance(item, WonDeal):
            metric, date, entity = "booked_sales", rules.time.local(item.occurred_at).date, DEAL + item.deal_id
            source: str | None = item.source
        else:
            metric, date, entity, source = "planned_sales", iso_day(item.expected_day), QUOTE + item.quote_id, None
        base = Contribution(metric, date, 1, entity, lead, ref, source, category, item.salesperson, placed=placed)
        yield base
        yield base._replace(metric=f"{metric}_value", number=item.hundredths)
        if source is not None and category == NEW_ACCOUNT:
            yield base._replace(metric="new_customers")
