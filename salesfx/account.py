"""An account: what each of its leads says about it, and the category that its deals and quotes get from it.

It holds nothing that is not derived from leads, so it does not matter in which order they speak.
"""

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

import msgspec

NEW_ACCOUNT, EXPANSION, RETURNING = "new_account", "expansion", "returning"
CATEGORIES = (NEW_ACCOUNT, EXPANSION, RETURNING)


class WonDeal(msgspec.Struct, array_like=True, frozen=True, order=True, gc=False):
    """A won deal, as its lead tells the account. Ordered by when it closed, then by id."""

    occurred_at: int
    deal_id: str
    day: int
    """Local day it closed."""
    covered_until: int
    """Last local day that it covers."""
    hundredths: int
    source: str
    salesperson: str
    category: str | None
    """What the CRM says."""


class PlannedQuote(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The open quote that a lead's planned sale rests on."""

    occurred_at: int
    quote_id: str
    day: int
    """Local day it was sent."""
    expected_day: int
    """Local day it is expected to close."""
    hundredths: int
    salesperson: str


class Statement(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What one lead says about one account."""

    won: tuple[WonDeal, ...] = ()
    planned: tuple[PlannedQuote, ...] = ()

    @property
    def entities(self) -> int:
        """How many deals and quotes it tells of."""
        return len(self.won) + len(self.planned)


class Account(msgspec.Struct, array_like=True, gc=False):
    """The statements of an account's leads, by the reference of the lead."""

    statements: dict[str, Statement] = {}

    @property
    def entities(self) -> int:
        """How many deals and quotes it is told of."""
        return sum(statement.entities for statement in self.statements.values())


class Categorised(NamedTuple):
    """A deal or quote with its category, and the deal whose coverage decided it (None for a new account)."""

    item: WonDeal | PlannedQuote
    category: str
    decided_by: WonDeal | None


# By time and id alone: two leads may tell of one deal for a moment, where they were not read at one instant.
_DEAL_ORDER, _QUOTE_ORDER = attrgetter("occurred_at", "deal_id"), attrgetter("occurred_at", "quote_id")


def categorised(statements: Iterable[Statement]) -> Iterator[Categorised]:
    """Give every won deal and planned quote of an account its category, in the order of time.

    With no earlier won deal it is a new account, unless the CRM's own category of the deal says otherwise: our log may
    begin later than the customer did. Else it is an expansion while the coverage that ends last, of all the earlier
    deals, has not ended before (last day included), and returning after. Earlier than a deal is by (closed, id),
    earlier than a quote is closed strictly before it was sent.
    """
    deals: list[WonDeal] = []
    quotes: list[PlannedQuote] = []
    for statement in statements:
        deals.extend(statement.won)
        quotes.extend(statement.planned)
    deals.sort(key=_DEAL_ORDER)
    quotes.sort(key=_QUOTE_ORDER, reverse=True)
    cover: WonDeal | None = None
    for deal in deals:
        while quotes and quotes[-1].occurred_at <= deal.occurred_at:
            quote = quotes.pop()
            yield Categorised(quote, _category(quote.day, cover, None), cover)
        yield Categorised(deal, _category(deal.day, cover, deal.category), cover)
        if cover is None or deal.covered_until > cover.covered_until:
            cover = deal
    for quote in reversed(quotes):
        yield Categorised(quote, _category(quote.day, cover, None), cover)


def _category(day: int, cover: WonDeal | None, crm_category: str | None) -> str:
    if cover is None:
        return crm_category or NEW_ACCOUNT
    return EXPANSION if cover.covered_until >= day else RETURNING
