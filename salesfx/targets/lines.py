"""Monthly targets as they stand in the settings, and which of them holds for a month."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from salesfx.decoder import normalise_name
from salesfx.refusal import Refused

KPIS = (
    "leads",
    "qualified_leads",
    "qualified_leads_value",
    "new_customers",
    "conversion",
    "booked_sales",
    "booked_sales_value",
)
"""What may have a target; all but conversion are metrics of the catalogue."""
BY_CATEGORY = ("booked_sales", "booked_sales_value")
MONEY = ("qualified_leads_value", "booked_sales_value")
CONVERSION = "conversion"

Number = int | float
"""Of a count an int, of money an int in hundredths of the reporting currency, of conversion a float."""
_Count = Annotated[int, Meta(ge=0, le=1_000_000)]
_Money = Annotated[int, Meta(ge=0, le=10**10)] | Annotated[str, Meta(pattern=r"^[0-9]{1,10}(\.[0-9]{1,2})?\Z")]
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_MOST = 2000


class TargetLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of `[[targets]]`: what holds from a month on, until a later line says otherwise; 0 is no target any more."""

    since: str
    """Month, YYYY-MM."""
    salesperson: str | None = None
    """Whose; None: the whole team's. The team's is its own, not the sum of its people's."""
    category: Literal["new_account", "expansion", "returning"] | None = None
    """Of booked sales, which category; None: in all."""
    leads: _Count | None = None
    qualified_leads: _Count | None = None
    qualified_leads_value: _Money | None = None
    """In units of the reporting currency, as all money here."""
    new_customers: _Count | None = None
    conversion: Annotated[float, Meta(ge=0, le=1)] | None = None
    """New customers for each qualified lead; 0.25 is 25 %."""
    booked_sales: _Count | None = None
    booked_sales_value: _Money | None = None


def check_targets(lines: Sequence[TargetLine]) -> None:
    """Refuse lines that say nothing, or two things about one month.

    Raises:
        ValueError: The message names the line, counted from 1.

    """
    if len(lines) > _MOST:
        raise ValueError(f"targets: {len(lines)} lines are more than {_MOST}")
    said: dict[tuple[str, str | None, str, str | None], int] = {}
    for number, line in enumerate(lines, 1):
        try:
            _check_line(line)
            _check_against(said, line)
        except ValueError as error:
            raise ValueError(f"targets, line {number}: {error}") from None
        said.update(((line.since, _whose(line), kpi, line.category), number) for kpi in _set_in(line))


def _check_against(said: Mapping[tuple[str, str | None, str, str | None], int], line: TargetLine) -> None:
    for kpi in _set_in(line):
        for place in _excluded_by(line, kpi):
            if place in said:
                raise ValueError(_twice(line, kpi, said[place], same=place[3] == line.category))


class Targets:
    """Tells what is to be reached in a month."""

    def __init__(self, lines: Iterable[TargetLine]) -> None:
        """Make it of lines that `check_targets` has let through."""
        self._by_place: dict[tuple[str | None, str, str | None], list[tuple[str, Number]]] = {}
        for line in sorted(lines, key=lambda line: line.since):
            for kpi in _set_in(line):
                place = _whose(line), kpi, line.category
                self._by_place.setdefault(place, []).append((line.since, _number(line, kpi)))

    def target(
        self, month: str, kpi: str, salesperson: str | None = None, category: str | None = None
    ) -> Number | None:
        """Give a target; None where none is set.

        Booked sales have targets either in all or by category, whichever was set last. By category, what is to be reached in
        all is their sum.

        Args:
            month: YYYY-MM.
            kpi: One of `KPIS`.
            salesperson: Whose; None: the whole team's.
            category: One of those of booked sales; None: in all.

        """
        since, number = self._last(month, kpi, salesperson, None)
        if kpi not in BY_CATEGORY:
            return number or None
        by_category = {
            name: self._last(month, kpi, salesperson, name) for name in ("new_account", "expansion", "returning")
        }
        newer = {name: found for name, (begun, found) in by_category.items() if begun > since}
        if category is not None:
            return newer.get(category) or None
        return (sum(newer.values()) if newer else number) or None

    def salespeople(self, month: str) -> list[str]:
        """Name those who have a target in a month, by name."""
        names = {whose for whose, _, _ in self._by_place if whose is not None}
        return sorted(name for name in names if any(self.target(month, kpi, name) is not None for kpi in KPIS))

    def _last(self, month: str, kpi: str, salesperson: str | None, category: str | None) -> tuple[str, Number]:
        """Give since when which number holds; ("", 0) where none does."""
        history = self._by_place.get((salesperson, kpi, category), [])
        place = bisect_right(history, month, key=lambda entry: entry[0])
        return history[place - 1] if place else ("", 0)


def _check_line(line: TargetLine) -> None:
    if _MONTH.fullmatch(line.since) is None:
        raise ValueError(f'since is {line.since[:20]!r}; write a month like "2026-01", with quotes')
    if not any(True for _ in _set_in(line)):
        raise ValueError(f"it sets no target; name one of {', '.join(KPIS)}")
    if line.salesperson is not None:
        try:
            usable = normalise_name(line.salesperson, "salesperson")
        except Refused as refused:
            raise ValueError(refused.detail) from None
        if usable is None:
            raise ValueError("salesperson is blank; leave it out for the whole team's target")
    if line.category is not None:
        for kpi in _set_in(line):
            if kpi not in BY_CATEGORY:
                raise ValueError(f"{kpi} is not broken down by category; only {' and '.join(BY_CATEGORY)} are")


def _set_in(line: TargetLine) -> Iterable[str]:
    return (kpi for kpi in KPIS if getattr(line, kpi) is not None)


def _excluded_by(line: TargetLine, kpi: str) -> Iterable[tuple[str, str | None, str, str | None]]:
    """Name what cannot be said of the same month as well."""
    categories: tuple[str | None, ...] = (line.category,)
    if kpi in BY_CATEGORY:
        categories += (None,) if line.category else ("new_account", "expansion", "returning")
    return ((line.since, _whose(line), kpi, category) for category in categories)


def _twice(line: TargetLine, kpi: str, other: int, *, same: bool) -> str:
    whose = "the whole team" if line.salesperson is None else repr(line.salesperson)
    if same:
        return f"{kpi} of {whose} since {line.since} stands in line {other} already"
    return f"{kpi} of {whose} since {line.since} is set both in all and by category; line {other} has the other"


def _whose(line: TargetLine) -> str | None:
    """Give the salesperson as events have the name."""
    return None if line.salesperson is None else normalise_name(line.salesperson, "salesperson")


def _number(line: TargetLine, kpi: str) -> Number:
    value = getattr(line, kpi)
    number: Number = int(Decimal(value) * 100) if kpi in MONEY else value
    return number
