"""Numbers and text as people read them."""

from collections.abc import Iterable
from decimal import Decimal

from salesfx.reading.report import CountAndValue


def grouped(value: str) -> str:
    """Group a decimal string's digits in threes, like 1 150.00: in half of Europe a comma is a decimal point."""
    return f"{Decimal(value):,}".replace(",", " ")


def total(sales: Iterable[CountAndValue]) -> str:
    """Add up values, as a decimal string."""
    return str(sum((Decimal(sale.value) for sale in sales), Decimal("0.00")))


def percent(ratio: float | None) -> str:
    """Write a ratio as a percentage with one digit, or a dash where there is none."""
    return "-" if ratio is None else f"{ratio * 100:.1f} %"


def printable(text: str) -> str:
    """Write what is not printable as an escape: text that was sent to us may hold anything, and a terminal obeys some."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
