"""The fields of an event: each read and normalised, absent (None), or wrong, so that the event is refused."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import TypeVar

from salesfx.audit.recomputation.message import JsonNumber, given
from salesfx.audit.recomputation.refusal import RefusedError

LONGEST_ID = 200
LONGEST_NAME = 100
GREATEST_INTEGER = 2**63 - 1
AMOUNT_BOUND = 10**10  # units of the event's currency; itself refused
MOST_DECIMALS = 100
MOST_DIGITS = 20  # of an integer that may still fit
FIRST_YEAR, LAST_YEAR = 2000, 2100
LAST_HOUR, LAST_MINUTE = 23, 59

INSTANT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
DAY = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
DECIMAL_STRING = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")

Given = TypeVar("Given")


def required(name: str, value: Given | None) -> Given:
    """Refuse the event where the field is absent."""
    if value is None:
        raise RefusedError(f"no {name}")
    return value


def read_text(raw: Mapping[str, object], name: str) -> str | None:
    """Read a string, as it came."""
    value = given(raw, name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise RefusedError(f"{name} is not a string")
    if not value.isascii() and any(unicodedata.category(character) == "Cs" for character in value):
        raise RefusedError(f"{name} holds half a character")  # a lone surrogate, which UTF-8 cannot write
    return value


def has_control_character(text: str) -> bool:
    """Tell whether a character of the category Cc is in the text."""
    if text.isascii() and text.isprintable():
        return False
    return any(unicodedata.category(character) == "Cc" for character in text)


def read_id(raw: Mapping[str, object], name: str) -> str | None:
    """Read an id, exactly as it came: neither trimmed nor normalised."""
    value = read_text(raw, name)
    if value is not None and (len(value) > LONGEST_ID or has_control_character(value)):
        raise RefusedError(f"{name} is too long or holds a control character")
    return value


def read_name(raw: Mapping[str, object], name: str) -> str | None:
    """Read a source or salesperson: trimmed, then NFC, and only then measured."""
    value = read_text(raw, name)
    if value is None:
        return None
    value = unicodedata.normalize("NFC", value.strip())
    if len(value) > LONGEST_NAME or has_control_character(value):
        raise RefusedError(f"{name} is too long or holds a control character")
    return value


def read_choice(raw: Mapping[str, object], name: str, choices: tuple[str, ...]) -> str | None:
    """Read one of a few words, which are taken exactly."""
    value = read_text(raw, name)
    if value is not None and value not in choices:
        raise RefusedError(f"unknown {name}")
    return value


def read_boolean(raw: Mapping[str, object], name: str) -> bool:
    """Read a boolean; absent is false, and nothing but true and false will do."""
    value = given(raw, name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise RefusedError(f"{name} is not a boolean")
    return value


def read_integer(raw: Mapping[str, object], name: str, *, least: int, default: int) -> int:
    """Read an integer from `least` to 2^63-1; 3.0 is as good as 3, a string or a boolean is no integer."""
    value = given(raw, name)
    if value is None:
        return default
    if not isinstance(value, JsonNumber):  # neither a boolean nor a string is an integer
        raise RefusedError(f"{name} is not an integer")
    number = number_to_decimal(value.text)
    # The size is looked at first: 1e999999 is soon written and a very long integer.
    if number != 0 and not -1 < number.adjusted() < MOST_DIGITS:
        raise RefusedError(f"{name} is out of range")
    exact = Fraction(number)
    if exact.denominator != 1 or not least <= exact <= GREATEST_INTEGER:
        raise RefusedError(f"{name} is not an integer from {least}")
    return int(exact)


def number_to_decimal(text: str) -> Decimal:
    """Read a number exactly."""
    try:
        number = Decimal(text)  # the constructor is exact, whatever the context's precision
    except InvalidOperation as error:
        raise RefusedError("a number with an exponent beyond all bounds") from error
    return number if number != 0 else Decimal(0)  # -0 and 0e999999 are 0


def read_amount(raw: Mapping[str, object], name: str) -> Decimal | None:
    """Read an amount: a string of digits with at most one point, or a JSON number; from 0 to below 10^10."""
    value = given(raw, name)
    if value is None:
        return None
    if isinstance(value, JsonNumber):
        amount = number_to_decimal(value.text)
    elif isinstance(value, str) and DECIMAL_STRING.fullmatch(value):
        amount = number_to_decimal(value)
    else:
        raise RefusedError(f"{name} is not a decimal")
    if not 0 <= amount < AMOUNT_BOUND:
        raise RefusedError(f"{name} is out of range")
    # The first digit's place is looked at first: 1e-999999999 is soon written, and a very long decimal.
    if amount != 0 and (
        amount.adjusted() < -MOST_DECIMALS or len(decimal_text(amount).partition(".")[2]) > MOST_DECIMALS
    ):
        raise RefusedError(f"{name} has too many decimals")
    return amount


def decimal_text(amount: Decimal) -> str:
    """Write the amount without exponent, trailing zeros or trailing point: equal amounts have equal texts."""
    text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text


def read_currency(raw: Mapping[str, object], name: str) -> str | None:
    """Read a currency code: trimmed and upper-cased."""
    value = read_text(raw, name)
    return None if value is None else value.strip().upper()


def read_instant(raw: Mapping[str, object], name: str) -> datetime | None:
    """Read RFC 3339, the offset required, as an instant in UTC; digits beyond the microsecond drop."""
    value = read_text(raw, name)
    if value is None:
        return None
    match = INSTANT.fullmatch(value)
    if match is None:
        raise RefusedError(f"{name} is not an RFC 3339 instant with an offset")
    year, month, day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups()
    if not FIRST_YEAR <= int(year) <= LAST_YEAR:  # as written, not as it is in UTC
        raise RefusedError(f"{name} is not in the years 2000 to 2100")
    offset = timedelta()
    if sign is not None:
        if int(offset_hours) > LAST_HOUR or int(offset_minutes) > LAST_MINUTE:
            raise RefusedError(f"{name} has an impossible offset")
        offset = timedelta(hours=int(offset_hours), minutes=int(offset_minutes))
        if sign == "-":
            offset = -offset
    microsecond = int((fraction or "0")[:6].ljust(6, "0"))
    try:
        written = datetime(
            int(year),
            int(month),
            int(day),
            int(hour),
            int(minute),
            int(second),
            microsecond,
            tzinfo=timezone(offset),
        )
    except ValueError as error:
        raise RefusedError(f"{name} is no instant of the calendar") from error
    return written.astimezone(UTC)


def instant_text(instant: datetime) -> str:
    """Write an instant of UTC, always with six digits."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_day(raw: Mapping[str, object], name: str, *, years: tuple[int, int]) -> date | None:
    """Read a date YYYY-MM-DD."""
    value = read_text(raw, name)
    if value is None:
        return None
    match = DAY.fullmatch(value)
    if match is None:
        raise RefusedError(f"{name} is not a date")
    year, month, day = (int(group) for group in match.groups())
    if not years[0] <= year <= years[1]:
        raise RefusedError(f"{name} is not in the years {years[0]} to {years[1]}")
    try:
        return date(year, month, day)
    except ValueError as error:
        raise RefusedError(f"{name} is no day of the calendar") from error
