"""Money is exact: no binary float, one rounding, the rate of the event's own day."""

from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salesfx.definitions import Rate
from salesfx.money import HUNDREDTHS_LIMIT, Exchange, decimal_string, parse_amount, parse_number, plain
from salesfx.refusal import Reason, Refused

DAY = date(2026, 10, 5).toordinal()
RATES = (
    Rate(currency="USD", since=date(2026, 11, 1), per_euro=Decimal("1.25")),
    Rate(currency="USD", since=date(2026, 10, 1), per_euro=Decimal("1.1")),
    Rate(currency="RSD", since=date(2020, 1, 1), per_euro=Decimal("117.2")),
    Rate(currency="BTC", since=date(2020, 1, 1), per_euro=Decimal("0.00001")),
)


@pytest.mark.parametrize(
    ("amount", "hundredths"),
    [
        ("0", 0),
        ("0.004999", 0),
        ("0.005", 1),
        ("10.005", 1001),
        ("10.0049999999999999999999999999999999999999", 1000),
        ("33.335", 3334),
        ("9999999999.99", 999_999_999_999),
    ],
)
def test_the_reporting_currency_is_rounded_half_up(amount: str, hundredths: int) -> None:
    """10.005 as a binary float would be 10.00."""
    assert Exchange("EUR", ()).hundredths(amount, "EUR", DAY) == hundredths


def test_the_euro_and_the_lev_are_built_in() -> None:
    """At 1.95583 levs a euro, on every day."""
    for day in (1, DAY, date.max.toordinal()):
        assert Exchange("EUR", ()).hundredths("195.583", "BGN", day) == 10_000
        assert Exchange("BGN", ()).hundredths("100", "EUR", day) == 19_558


def test_two_other_currencies_cross_through_the_euro_and_round_once() -> None:
    """Rounding in the middle would make 99.99 or 100.01 of some."""
    assert Exchange("USD", RATES).hundredths("117.2", "RSD", DAY) == 110
    assert Exchange("USD", RATES).hundredths("0.53", "RSD", DAY) == floor(
        Fraction("0.53") / Fraction("117.2") * 110 + Fraction(1, 2)
    )


def test_the_latest_rate_not_after_the_event_counts() -> None:
    """Its first day included, whatever the order in the settings."""
    exchange = Exchange("EUR", RATES)
    last_of_october, first_of_november = date(2026, 10, 31).toordinal(), date(2026, 11, 1).toordinal()
    assert exchange.hundredths("110", "USD", date(2026, 10, 1).toordinal()) == 10_000
    assert exchange.hundredths("110", "USD", last_of_october) == 10_000
    assert exchange.hundredths("125", "USD", first_of_november) == 10_000
    assert exchange.hundredths("125", "USD", first_of_november + 9999) == 10_000


@pytest.mark.parametrize(
    ("exchange", "currency", "words"),
    [
        (Exchange("EUR", RATES), "CHF", "there is no rate for CHF; add one to [[rates]] in the settings"),
        (Exchange("CHF", RATES), "EUR", "there is no rate for CHF; add one to [[rates]] in the settings"),
        (Exchange("EUR", RATES), "USD", "the rates for USD begin on 2026-10-01, the event is of 2026-09-30"),
    ],
)
def test_a_currency_without_a_rate_is_refused(exchange: Exchange, currency: str, words: str) -> None:
    """With a reason of its own: the event can be published again once there is one."""
    with pytest.raises(Refused) as caught:
        exchange.hundredths("1", currency, date(2026, 9, 30).toordinal())
    assert (caught.value.reason, caught.value.detail) == (Reason.NO_RATE, words)


def test_the_reporting_currency_needs_no_rate() -> None:
    """Nothing is converted."""
    assert Exchange("CHF", ()).hundredths("1.5", "CHF", DAY) == 150


def test_a_converted_amount_is_bounded() -> None:
    """So that sums of them stay within 64 bits."""
    exchange = Exchange("EUR", RATES)
    assert exchange.hundredths("999999.99999", "BTC", DAY) == HUNDREDTHS_LIMIT - 100
    with pytest.raises(Refused) as caught:
        exchange.hundredths("1000000", "BTC", DAY)
    assert (caught.value.reason, caught.value.detail) == (
        Reason.INVALID_FIELD,
        "amount: 1000000 BTC is too much in EUR",
    )


@settings(max_examples=500, deadline=None)
@given(
    st.decimals(0, 10**10, allow_nan=False, places=4).filter(lambda amount: amount < 10**10),
    st.sampled_from(["EUR", "BGN", "USD", "RSD"]),
    st.sampled_from(["EUR", "BGN", "USD", "RSD"]),
)
def test_conversion_is_the_exact_quotient_rounded_once(amount: Decimal, currency: str, reporting: str) -> None:
    """However many digits it has."""
    per_euro = {"EUR": Fraction(1), "BGN": Fraction("1.95583"), "USD": Fraction("1.1"), "RSD": Fraction("117.2")}
    exact = Fraction(amount) / per_euro[currency] * per_euro[reporting] * 100
    if exact < HUNDREDTHS_LIMIT - 1:
        assert abs(Exchange(reporting, RATES).hundredths(plain(amount), currency, DAY) - exact) <= Fraction(1, 2)
        assert Exchange(reporting, RATES).hundredths(plain(amount), currency, DAY) == floor(exact + Fraction(1, 2))


@settings(max_examples=500, deadline=None)
@given(st.decimals(0, 10**10 - 1, allow_nan=False), st.booleans())
def test_an_amount_is_read_as_the_decimal_that_is_written(amount: Decimal, as_number: bool) -> None:
    """In plain notation, equal for equal amounts."""
    amount = abs(amount)
    if amount and amount.adjusted() < -60:
        amount = Decimal(0)
    written = str(amount) if as_number else f'"{amount:f}"'
    read = parse_amount(written.encode())
    assert Decimal(read) == amount
    assert "e" not in read.lower()
    assert "." not in read or read[-1] not in ".0"
    assert read == "0" or read[0] != "0" or read[1] == "."


@pytest.mark.parametrize("written", ["", "x", '"1"', "1_0", "+1", "nan", "1e", "0x1"])
def test_what_is_no_json_number_is_none(written: str) -> None:
    """Python's Decimal would take some of them."""
    with pytest.raises(ValueError, match="neither a decimal string nor a number"):
        parse_number(written.encode())


@pytest.mark.parametrize(
    ("hundredths", "text"),
    [
        (0, "0.00"),
        (5, "0.05"),
        (-5, "-0.05"),
        (115_000, "1150.00"),
        (-199, "-1.99"),
        (10**17 + 1, "1000000000000000.01"),
    ],
)
def test_hundredths_as_a_decimal_string(hundredths: int, text: str) -> None:
    """Always two digits; the sign stands before the whole."""
    assert decimal_string(hundredths) == text
