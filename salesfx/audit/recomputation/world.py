"""The entities that stand, under their leads and accounts, and the rules that need more than one of them."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from itertools import accumulate
from typing import Self, TypeVar

from salesfx.audit.recomputation.event import DEAL, LEAD, QUOTE, Event, moment, occurred_at_of
from salesfx.audit.recomputation.meaning import local_date, named_source
from salesfx.definitions import Definitions

Group = TypeVar("Group")

# What a quote or deal lives under: ("lead", lead_id), or a stand-in ("quote", quote_id) or ("deal", deal_id). The first
# part keeps the ids of stand-ins apart from the CRM's.
Home = tuple[str, str]

# An account that has a name, ("account", account_id), or a home that is its own account.
Account = tuple[str, str]


def home_of(event: Event) -> Home:
    """Tell what a quote or deal lives under."""
    if event.lead_id is not None:
        return "lead", event.lead_id
    if event.topic == QUOTE:
        return "quote", event.id
    if event.quote_id is not None:
        # The quote's stand-in, also when that quote itself has a lead: the deal does not follow it there.
        return "quote", event.quote_id
    return "deal", event.id


def named_home_of(event: Event) -> str:
    """Name what an event lives under, as a record or for showing; a lead's own event lives under the lead."""
    kind, key = ("lead", event.id) if event.topic == LEAD else home_of(event)
    return f"{kind}:{key}" if kind == "lead" else f"lead-of-{kind}:{key}"


def grouped(events: Iterable[Event], group_of: Callable[[Event], Group]) -> Mapping[Group, Sequence[Event]]:
    """Put events into groups, in each the earliest first."""
    groups: defaultdict[Group, list[Event]] = defaultdict(list)
    for event in sorted(events, key=moment):
        groups[group_of(event)].append(event)
    return groups


@dataclass(frozen=True)
class World:
    """All entities that stand, each with the content of its winning version, and questions about them."""

    definitions: Definitions
    leads: Mapping[str, Event]
    quotes: Sequence[Event]
    deals: Sequence[Event]

    @classmethod
    def of(cls, standing: Iterable[Event], definitions: Definitions) -> Self:
        """Make one of the winning versions that withdraw nothing."""
        events = list(standing)
        return cls(
            definitions=definitions,
            leads={event.id: event for event in events if event.topic == LEAD},
            quotes=[event for event in events if event.topic == QUOTE],
            deals=[event for event in events if event.topic == DEAL],
        )

    def local_date(self, instant: datetime) -> date:
        """Tell the date in the business time zone."""
        return local_date(instant, self.definitions)

    def homes(self) -> list[Home]:
        """List every lead and stand-in that a quote or deal lives under."""
        return sorted({*self.quotes_by_home, *self.deals_by_home})

    @cached_property
    def quotes_by_home(self) -> Mapping[Home, Sequence[Event]]:
        """Put the quotes under their leads and stand-ins, the earliest first."""
        return grouped(self.quotes, home_of)

    @cached_property
    def deals_by_home(self) -> Mapping[Home, Sequence[Event]]:
        """Put the deals under their leads and stand-ins, whatever their outcome, the earliest first."""
        return grouped(self.deals, home_of)

    def quotes_of(self, home: Home) -> Sequence[Event]:
        """List the quotes of a lead or stand-in, the earliest first."""
        return self.quotes_by_home.get(home, [])

    def deals_of(self, home: Home) -> Sequence[Event]:
        """List the deals of a lead or stand-in, whatever their outcome, the earliest first."""
        return self.deals_by_home.get(home, [])

    def lead_of(self, home: Home) -> Event | None:
        """Give the lead's own event, where the home is a lead and its event has come and stands."""
        kind, lead_id = home
        return self.leads.get(lead_id) if kind == "lead" else None

    def source_of(self, home: Home) -> str:
        """Rules 1 and 7."""
        if home[0] != "lead":
            return "unattributed"
        lead = self.lead_of(home)
        if lead is None or lead.source is None:
            return "unknown"
        return named_source(lead.source, self.definitions)

    def salesperson_of(self, event: Event) -> str:
        """Rule 7, for a quote or deal: its own, else its lead's, else nobody's."""
        if event.salesperson is not None:
            return event.salesperson
        lead = self.lead_of(home_of(event))
        if lead is not None and lead.salesperson is not None:
            return lead.salesperson
        return "unassigned"

    def qualifies(self, quote: Event) -> bool:
        """Rule 2."""
        return quote.need is not None and quote.recipient_count <= self.definitions.recipient_limit

    def qualifying_quotes_of(self, home: Home) -> list[Event]:
        """List the qualifying quotes of a lead or stand-in, the earliest first."""
        return [quote for quote in self.quotes_of(home) if self.qualifies(quote)]

    def account_of(self, event: Event) -> Account:
        """Give the account of a quote or deal; without a named one, its lead or stand-in is the account."""
        if event.account_id is not None:
            return "account", event.account_id
        home = home_of(event)
        lead = self.lead_of(home)
        if lead is not None and lead.account_id is not None:
            return "account", lead.account_id
        # Else the latest that names one, whatever its outcome and whether or not it qualifies. Where a quote and a
        # deal have the same time and the same id, the quote is the later.
        naming = [
            sibling for sibling in (*self.deals_of(home), *self.quotes_of(home)) if sibling.account_id is not None
        ]
        if not naming:
            return home
        latest = max(naming, key=lambda sibling: (sibling.occurred_at, sibling.id, sibling.topic == QUOTE))
        return "account", latest.account_id or ""

    @cached_property
    def won_by_account(self) -> Mapping[Account, Sequence[Event]]:
        """Put the won deals under their accounts, under whatever leads they live, the earliest first."""
        return grouped([deal for deal in self.deals if deal.outcome == "won"], self.account_of)

    @cached_property
    def covered_by_account(self) -> Mapping[Account, Sequence[int]]:
        """Tell for each won deal of an account how far it and those before it reach: the coverage that ends last."""
        return {
            account: list(accumulate((self.covered_to(deal) for deal in won), max))
            for account, won in self.won_by_account.items()
        }

    def covered_to(self, deal: Event) -> int:
        """Give the last day that a won deal covers, as an ordinal, which unlike a date cannot overflow."""
        if deal.contract_ends_on is not None:
            return deal.contract_ends_on.toordinal()
        return self.local_date(deal.occurred_at).toordinal() + self.definitions.coverage_days

    def category_after(self, account: Account, earlier: int, instant: datetime) -> str:
        """Rule 5, where there are earlier won deals: the coverage that ends last decides, its last day included.

        `earlier` is how many of the account's won deals are earlier; they are the first ones.
        """
        covered_to = self.covered_by_account[account][earlier - 1]
        return "expansion" if covered_to >= self.local_date(instant).toordinal() else "returning"

    def category_of_deal(self, deal: Event) -> str:
        """Rule 5. The CRM's own category counts only for the account's first deal."""
        account = self.account_of(deal)
        earlier = bisect_left(self.won_by_account.get(account, []), moment(deal), key=moment)
        if earlier == 0:
            return deal.category or "new_account"
        return self.category_after(account, earlier, deal.occurred_at)

    def category_of_quote(self, quote: Event) -> str:
        """Rule 5, for an open quote: at the moment it was sent, after the deals that closed strictly before."""
        account = self.account_of(quote)
        earlier = bisect_left(self.won_by_account.get(account, []), quote.occurred_at, key=occurred_at_of)
        if earlier == 0:
            return "new_account"
        return self.category_after(account, earlier, quote.occurred_at)

    def is_open(self, quote: Event) -> bool:
        """Rule 3: no deal of its lead or stand-in closes it."""
        for deal in self.deals_of(home_of(quote)):
            if deal.outcome == "open":
                continue  # re-opened: closes nothing
            if quote.occurred_at <= deal.occurred_at or deal.quote_id == quote.id:
                return False
        return True
