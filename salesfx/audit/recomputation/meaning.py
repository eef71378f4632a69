"""What the settings make of an event: local time, money in the reporting currency, the names of sources."""

import unicodedata
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from math import floor
from zoneinfo import ZoneInfo

from salesfx.audit.recomputation.refusal import NoRateError, RefusedError
from salesfx.definitions import Definitions, Rate

HUNDREDTHS_BOUND = 10**13  # hundredths of the reporting currency; itself refused
EURO, LEV = "EUR", "BGN"
LEV_PER_EURO = Fraction("1.95583")


def local_time(instant: datetime, definitions: Definitions) -> datetime:
    """Tell what the clock shows in the business time zone."""
    return instant.astimezone(ZoneInfo(definitions.timezone))


def local_date(instant: datetime, definitions: Definitions) -> date:
    """Tell the date in the business time zone."""
    return local_time(instant, definitions).date()


def convert(amount: Decimal, currency: str, on: date, definitions: Definitions) -> int:
    """Convert to hundredths of the reporting currency: exact all the way, rounded half up once at the end."""
    exact = Fraction(amount)
    reporting = definitions.currency.strip().upper()
    if currency != reporting:  # what is in the reporting currency already needs no rate
        exact = exact / rate_on(currency, on, definitions) * rate_on(reporting, on, definitions)
    hundredths = floor(exact * 100 + Fraction(1, 2))
    if hundredths >= HUNDREDTHS_BOUND:
        raise RefusedError("the converted amount is out of range")
    return hundredths


def needs_rate(currency: str, definitions: Definitions) -> bool:
    """Tell whether a conversion takes a rate out of the settings."""
    reporting = definitions.currency.strip().upper()
    return currency != reporting and not {currency, reporting} <= {EURO, LEV}


def rate_on(currency: str, on: date, definitions: Definitions) -> Fraction:
    """Find the units per euro: the latest rate that holds from no later than the date."""
    if currency == EURO:
        return Fraction(1)
    if currency == LEV:
        return LEV_PER_EURO
    latest: Rate | None = None
    for rate in definitions.rates:
        if rate.currency.strip().upper() != currency or rate.since > on:
            continue
        if latest is None or rate.since > latest.since:
            latest = rate
    if latest is None:
        raise NoRateError(f"no rate for {currency} on {on}")
    return Fraction(latest.per_euro)


def folded_source(text: str) -> str:
    """Trim, NFC, case-fold, and NFC again, since folding can undo it."""
    trimmed = unicodedata.normalize("NFC", text.strip())
    return unicodedata.normalize("NFC", trimmed.casefold())


def named_source(text: str, definitions: Definitions) -> str:
    """Rule 1: case-folded, then the alias, once: an alias of an alias is not followed."""
    source = folded_source(text)
    for alias, target in definitions.source_aliases.items():
        if folded_source(alias) == source:
            return folded_source(target)
    return source
