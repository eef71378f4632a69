"""A cheap look at records: which of them can have anything to do with a month.

A month is made up of few of a million records. Only those that may contribute are decoded as a whole; this decodes the
dates, and lets too many through rather than too few.
"""

from collections.abc import Callable
from datetime import date

import msgspec

from salesfx.attribution import LEAD_METRICS
from salesfx.reading.month import Month

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MICROSECONDS_OF_DAY = 86_400_000_000
_MARGIN_DAYS = 2
"""A local date is less than this away from that in UTC."""

Look = Callable[[bytes], bool]
"""Tells of a record whether it may contribute."""


class _Dated(msgspec.Struct, array_like=True, gc=False):
    """A quote, deal or won deal, up to its date."""

    occurred_at: int


class _Own(msgspec.Struct, array_like=True, gc=False):
    """A lead's own version, up to its date."""

    revision: int
    recorded_at: int
    event_id: str
    occurred_at: int


class _OwnDate(msgspec.Struct, array_like=True, gc=False):
    own: _Own | None


class _LeadDates(msgspec.Struct, array_like=True, gc=False):
    own: msgspec.Raw
    facts: msgspec.Raw
    quotes: dict[str, _Dated]
    deals: dict[str, _Dated]


class _Quote(msgspec.Struct, array_like=True, gc=False):
    """A quote, up to the date on which it is expected to close."""

    occurred_at: int
    lead_id: str | None
    account_id: str | None
    salesperson: str | None
    amount: msgspec.Raw
    currency: msgspec.Raw
    need: msgspec.Raw
    recipient_count: int
    expected_close_on: int | None


class _LeadQuotes(msgspec.Struct, array_like=True, gc=False):
    own: msgspec.Raw
    facts: msgspec.Raw
    quotes: dict[str, _Quote]


class _Planned(msgspec.Struct, array_like=True, gc=False):
    occurred_at: int
    quote_id: str
    day: int
    expected_day: int


class _Statement(msgspec.Struct, array_like=True, gc=False):
    won: list[_Dated]
    planned: list[_Planned]


class _Account(msgspec.Struct, array_like=True, gc=False):
    statements: dict[str, _Statement]


_own_date = msgspec.msgpack.Decoder(_OwnDate).decode
_lead_dates = msgspec.msgpack.Decoder(_LeadDates).decode
_lead_quotes = msgspec.msgpack.Decoder(_LeadQuotes).decode
_account = msgspec.msgpack.Decoder(_Account).decode


class Prefilter:
    """Looks at records for one metric of one month."""

    def __init__(self, metric: str, month: Month, sales_cycle_days: int) -> None:
        first = date(month.year, month.number, 1).toordinal()
        self._metric = metric
        self._cycle = sales_cycle_days
        self._days = range(first, first + month.days)
        self._from = (first - _MARGIN_DAYS - _EPOCH_DAY) * _MICROSECONDS_OF_DAY
        self._until = (first + month.days + _MARGIN_DAYS - _EPOCH_DAY) * _MICROSECONDS_OF_DAY
        cycle = sales_cycle_days * _MICROSECONDS_OF_DAY
        self._sent_from, self._sent_until = self._from - cycle, self._until - cycle

    @property
    def of_lead(self) -> Look:
        """Gives the look at leads and stand-ins."""
        if self._metric == "leads":
            return self._came_in
        if self._metric in LEAD_METRICS:
            return self._has_quote
        return self._has_planned if self._metric.startswith("planned") else self._has_deal

    @property
    def of_account(self) -> Look:
        """Gives the look at accounts."""
        return self._is_told_of_planned if self._metric.startswith("planned") else self._is_told_of_won

    def _came_in(self, record: bytes) -> bool:
        own = _own_date(record).own
        return own is not None and self._from <= own.occurred_at < self._until

    def _has_quote(self, record: bytes) -> bool:
        return any(self._from <= quote.occurred_at < self._until for quote in _lead_dates(record).quotes.values())

    def _has_deal(self, record: bytes) -> bool:
        return any(self._from <= deal.occurred_at < self._until for deal in _lead_dates(record).deals.values())

    def _has_planned(self, record: bytes) -> bool:
        for quote in _lead_quotes(record).quotes.values():
            if quote.expected_close_on is not None:
                if quote.expected_close_on in self._days:
                    return True
            elif self._sent_from <= quote.occurred_at < self._sent_until:
                return True
        return False

    def _is_told_of_won(self, record: bytes) -> bool:
        return any(
            self._from <= deal.occurred_at < self._until
            for statement in _account(record).statements.values()
            for deal in statement.won
        )

    def _is_told_of_planned(self, record: bytes) -> bool:
        return any(
            quote.expected_day in self._days
            for statement in _account(record).statements.values()
            for quote in statement.planned
        )
