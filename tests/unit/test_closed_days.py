"""Days on which nobody works."""

from datetime import date

import pytest

from salesfx.lead_flow.closed_days import is_closed


def test_public_holidays_of_a_country() -> None:
    """Fixed ones, Easter, and the working day that makes up for a holiday on a Sunday; no other Sunday."""
    closed = is_closed("BG")
    assert closed(date(2026, 3, 3))
    assert closed(date(2026, 4, 10)), "Good Friday of the Orthodox Easter"
    assert not closed(date(2026, 4, 3)), "Good Friday elsewhere"
    assert (closed(date(2026, 5, 24)), closed(date(2026, 5, 25))) == (True, True)
    assert not closed(date(2026, 11, 22)), "a Sunday"
    assert [closed(date(year, 3, 3)) for year in (2000, 2024, 2031, 2099)] == [True] * 4


def test_holidays_of_a_part_of_a_country() -> None:
    """Corpus Christi is one in Bavaria, not in all of Germany."""
    day = date(2026, 6, 4)
    assert is_closed("DE-BY")(day)
    assert not is_closed("DE")(day)


def test_no_country_has_no_holidays() -> None:
    """Not even New Year."""
    assert not is_closed("")(date(2026, 1, 1))


def test_days_of_ones_own_come_once_or_every_year() -> None:
    """Beside the public ones; 29 February comes in leap years."""
    closed = is_closed("BG", ["2026-08-14", "12-31", "02-29"])
    assert closed(date(2026, 8, 14))
    assert not closed(date(2027, 8, 14))
    assert [closed(date(year, 12, 31)) for year in (2025, 2026, 2027)] == [True] * 3
    assert closed(date(2028, 2, 29))
    assert not closed(date(2027, 2, 28))
    assert closed(date(2026, 3, 3))


@pytest.mark.parametrize("country", ["XX", "Bulgaria", "bg", "B", "DE-XX", "DE-", "BG-", "-", "B\u0393", "BG\n"])
def test_a_country_that_is_not_known_is_refused(country: str) -> None:
    """The error names the setting, and shows how one is written."""
    with pytest.raises(ValueError, match=r"^holidays_country: no public holidays are known of .*like BG"):
        is_closed(country)


@pytest.mark.parametrize("day", ["2026-02-30", "02-30", "2026-2-3", "31.12.", "", "0000-01-01", "12-31\n", "Christmas"])
def test_a_day_that_is_none_is_refused(day: str) -> None:
    """The error names the setting, and shows how one is written."""
    with pytest.raises(ValueError, match=r"^closed_days: .* is no date; write 2026-12-31"):
        is_closed("", [day])
