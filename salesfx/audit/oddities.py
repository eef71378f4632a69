"""Warnings: what the rules count as they are told, though somebody probably told it wrong."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import date, timedelta
from typing import NamedTuple

import msgspec

from salesfx.account import Statement
from salesfx.audit.findings import Finding, Findings, Listed, note
from salesfx.business_time import iso_day
from salesfx.fold import decode_standing
from salesfx.lead import DEAL, QUOTE, Lead
from salesfx.rules import Rules
from salesfx.tables.store import View

LONG_OVERDUE = timedelta(days=90)
"""A planned sale that was expected so long ago was probably won or lost without an event."""


class _Overdue(NamedTuple):
    """An open quote that was expected long ago."""

    expected_day: int
    quote: str
    lead: str


class Oddities:
    """Collects them while the records are read."""

    def __init__(self, rules: Rules, today: date, month: str | None) -> None:
        """Make a collection.

        Args:
            rules: The definitions that the tables were made under.
            today: In the business time zone.
            month: Like 2026-10, to list what belongs to that month only.

        """
        self._rules = rules
        self._month = month
        self._long_ago = (today - LONG_OVERDUE).toordinal()
        self._findings: Findings = {}
        self._overdue: Listed[_Overdue] = Listed()

    @property
    def findings(self) -> Findings:
        """What was found; of the planned sales the longest overdue first."""
        if not self._overdue.total:
            return self._findings
        overdue = Listed(self._overdue.total, [_overdue(each) for each in self._overdue.listed])
        return {**self._findings, "long_overdue": overdue}

    def note_planned(self, lead: str, statement: Statement) -> None:
        """Look at a planned sale: was it expected long ago?"""
        for quote in statement.planned:
            if 0 < quote.expected_day < self._long_ago and self._is_listed(iso_day(quote.expected_day)):
                self._overdue.note_sorted(_Overdue(quote.expected_day, QUOTE + quote.quote_id, lead), tuple)

    async def check_quotes_named(self, leads: Iterable[tuple[str, Lead]], view: View) -> None:
        """Look at the deals: do they name a quote of another lead?"""
        named = [
            (DEAL + key, ref, QUOTE + deal.quote_id)
            for ref, lead in leads
            for key, deal in lead.deals.items()
            if deal.quote_id is not None and deal.quote_id not in lead.quotes and self._is_listed_at(deal.occurred_at)
        ]
        standings = await view.read({quote for _, _, quote in named})
        for deal, lead_ref, quote in named:
            home = _home(standings[quote])
            if home and home != lead_ref:
                sentence = (
                    f"{deal} of {lead_ref} names {quote}, which lives under {home}: it does not close it. Publish the deal "
                    "with the quote's lead, or the quote with the deal's"
                )
                note(self._findings, "quote_of_another_lead", sentence, deal, quote, lead_ref, home)

    def _is_listed_at(self, instant: int) -> bool:
        try:
            return self._is_listed(self._rules.time.local(instant).date)
        except (ValueError, OverflowError):  # no instant of the calendar: damage, which is found by others
            return False

    def _is_listed(self, day: str) -> bool:
        return self._month is None or day.startswith(self._month)


def _overdue(found: _Overdue) -> Finding:
    sentence = (
        f"{found.quote} of {found.lead} was expected to close on {iso_day(found.expected_day)} and is still open: publish "
        "the deal, won or lost, or retract the quote"
    )
    return Finding(sentence, [found.quote, found.lead])


def _home(standing: bytes | None) -> str:
    with suppress(msgspec.MsgspecError):  # a record that is none is named by others
        return "" if standing is None else decode_standing(standing).home
    return ""
