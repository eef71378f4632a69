"""Money: read as a decimal, kept as integer hundredths of the reporting currency, never a binary float."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from fractions import Fraction

import msgspec

from salesfx.business_time import iso_day
from salesfx.definitions import Rate
from salesfx.events import MAX_DECIMALS
from salesfx.refusal import Reason, Refused

_DECIMAL_STRING = re.compile(r"\d+\.?\d*|\.\d+", re.ASCII)
_JSON_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_AMOUNT_LIMIT = Decimal(10) ** 10
_USUAL = re.compile(rb'("?)((?:0|[1-9]\d{0,9})(?:\.\d{1,50})?)\1')
"""What almost every amount looks like: surely below the limit, and finely enough divided."""
HUNDREDTHS_LIMIT = 10**13
"""A converted amount stays below this, so that no sum of nine hundred thousand of them can overflow 64 bits."""
_REMEMBERED = 20_000
_BGN_PER_EURO = Decimal("1.95583")


def parse_amount(raw: bytes) -> str:
    """Read an amount from its JSON text: a decimal string, or a number taken as the decimal that is written.

    Returns:
        The amount in plain notation without needless zeros: "1000", "0.5".

    Raises:
        ValueError: It is neither, negative, 10^10 and more, or too finely divided; the message says which.

    """
    usual = _USUAL.fullmatch(raw)
    if usual is not None:
        return _without_needless_zeros(usual[2].decode())
    if raw.startswith(b'"'):
        text = msgspec.json.decode(raw, type=str)
        if _DECIMAL_STRING.fullmatch(text) is None:
            raise ValueError("is not an amount: write digits with at most one point, like 1150.00")
        amount = Decimal(text)
    else:
        amount = parse_number(raw)
    if amount < 0:
        raise ValueError("is negative; to take back a sale, correct or retract its deal")
    if amount >= _AMOUNT_LIMIT:
        raise ValueError("is not below 10^10")
    if amount == 0:
        return "0"
    # The first digit's place is looked at before the number is written out: 1e-999999999 is short only like this.
    written = plain(amount) if amount.adjusted() >= -MAX_DECIMALS else None
    if written is None or len(written.partition(".")[2]) > MAX_DECIMALS:
        raise ValueError(f"has more than {MAX_DECIMALS} digits after the point")
    return written


def parse_number(raw: bytes) -> Decimal:
    """Read a JSON number as the decimal that is written, exactly.

    Raises:
        ValueError: It is not a number, or has an exponent beyond all bounds.

    """
    text = raw.decode()
    if _JSON_NUMBER.fullmatch(text) is None:
        raise ValueError("is neither a decimal string nor a number")
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError("has an exponent beyond all bounds") from None


def plain(amount: Decimal) -> str:
    """Write a decimal without exponent and without needless zeros."""
    return _without_needless_zeros(format(amount, "f")).lstrip("-") or "0"


def _without_needless_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


class Exchange:
    """Converts amounts into the reporting currency.

    Rates are units per euro with the date from which they hold; the latest not after the event's local date counts. The
    euro itself and the lev, fixed at 1.95583, are built in.
    """

    def __init__(self, currency: str, rates: Iterable[Rate]) -> None:
        self._currency = currency
        self._ratios: dict[tuple[str, int], tuple[int, int]] = {}
        self._since: dict[str, list[int]] = {"EUR": [1], "BGN": [1]}
        self._per_euro: dict[str, list[Fraction]] = {"EUR": [Fraction(1)], "BGN": [Fraction(_BGN_PER_EURO)]}
        for rate in sorted(rates, key=lambda rate: (rate.currency, rate.since)):
            self._since.setdefault(rate.currency, []).append(rate.since.toordinal())
            self._per_euro.setdefault(rate.currency, []).append(Fraction(rate.per_euro))

    def hundredths(self, amount: str, currency: str, day: int) -> int:
        """Convert an amount, rounding half up once.

        Args:
            amount: In plain notation, as `parse_amount` gives it.
            currency: Its ISO 4217 code.
            day: Local day of the event.

        Returns:
            Integer hundredths of the reporting currency.

        Raises:
            Refused: `no_rate`, or `invalid_field` where the converted amount is beyond what tables can hold.

        """
        whole, _, decimals = amount.partition(".")
        numerator, denominator = (1, 1) if currency == self._currency else self._ratio(currency, day)
        divisor: int = denominator * 10 ** len(decimals)
        hundredths = (int(whole + decimals) * 200 * numerator + divisor) // (2 * divisor)
        if hundredths >= HUNDREDTHS_LIMIT:
            raise Refused(Reason.INVALID_FIELD, f"amount: {amount} {currency} is too much in {self._currency}")
        return hundredths

    def _ratio(self, currency: str, day: int) -> tuple[int, int]:
        known = self._ratios.get((currency, day))
        if known is None:
            if len(self._ratios) >= _REMEMBERED:
                self._ratios.clear()
            ratio = self._rate(self._currency, day) / self._rate(currency, day)
            known = self._ratios[currency, day] = ratio.as_integer_ratio()
        return known

    def _rate(self, currency: str, day: int) -> Fraction:
        since = self._since.get(currency)
        if since is None:
            raise Refused(Reason.NO_RATE, f"there is no rate for {currency}; add one to [[rates]] in the settings")
        place = bisect_right(since, day)
        if place == 0:
            begin = iso_day(since[0])
            raise Refused(Reason.NO_RATE, f"the rates for {currency} begin on {begin}, the event is of {iso_day(day)}")
        return self._per_euro[currency][place - 1]


def decimal_string(hundredths: int) -> str:
    """Write hundredths as a decimal string with two digits, like "1150.00"."""
    sign = "-" if hundredths < 0 else ""
    return f"{sign}{abs(hundredths) // 100}.{abs(hundredths) % 100:02d}"
