"""Languages: words, and numbers, months and money as each language writes them (by CLDR)."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from babel.dates import format_skeleton
from babel.numbers import format_currency, format_decimal, format_percent

from salesfx.language.reasons import REASONS
from salesfx.language.words import WORDS

LANGUAGES = tuple(WORDS)


class Language:
    """One language."""

    def __init__(self, code: str) -> None:
        """Make it.

        Args:
            code: One of `LANGUAGES`.

        """
        self.code = code
        self._words = WORDS[code]
        self._reasons = REASONS[code]

    def word(self, name: str) -> str:
        """Give a word or sentence by its name."""
        return self._words[name]

    def reason(self, sentence: str, values: Mapping[str, str]) -> str:
        """Write why something counts where it counts, like "won on 2026-11-18".

        Args:
            sentence: Its name.
            values: What is put in; a category is translated.

        """
        shown = {name: self._reasons[value] if name == "category" else value for name, value in values.items()}
        return self._reasons[sentence].format_map(shown)

    def count(self, number: int) -> str:
        """Write a whole number, like 1,234."""
        return str(format_decimal(number, locale=self.code))

    def money(self, value: str, currency: str) -> str:
        """Write a decimal string with its currency, like €1,234.50."""
        return format_currency(Decimal(value), currency, locale=self.code)

    def percent(self, ratio: float) -> str:
        """Write a ratio as a percentage with one digit."""
        return format_percent(ratio, format=self._words["percent"], locale=self.code)

    def change(self, ratio: float) -> str:
        """Write by how much something changed as a whole percentage with its sign."""
        return format_percent(ratio, format=self._words["change"], locale=self.code)

    def month(self, year: int, number: int) -> str:
        """Write a month, like November 2026."""
        return format_skeleton("yMMMM", date(year, number, 1), locale=self.code)
