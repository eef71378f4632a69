"""What doctor says of the settings themselves."""

from datetime import date

from salesfx.doctor import calendar
from salesfx.settings import Settings

TODAY = date(2026, 11, 20)


def test_the_next_closed_day_is_named() -> None:
    """So that one sees which country's, and whether one's own are among them."""
    assert calendar(Settings(), TODAY) == calendar(Settings(holidays_country="BG"), TODAY)
    assert calendar(Settings(), TODAY).detail.endswith("closed_days has 0; the next closed day is 2026-12-24")
    own = calendar(Settings(closed_days=("12-01",)), TODAY)
    assert (own.ok, own.detail.endswith("closed_days has 1; the next closed day is 2026-12-01")) == (True, True)


def test_no_country_is_said() -> None:
    """It was chosen, so it is no fault."""
    found = calendar(Settings(holidays_country=""), TODAY)
    assert (found.ok, found.detail) == (True, "no public holidays, as holidays_country says; closed_days has 0")


def test_holidays_that_the_package_does_not_know_are_a_fault() -> None:
    """An old installation would take each of them for a drop."""
    found = calendar(Settings(), date(2190, 1, 1))
    assert (found.ok, "update the package holidays" in found.detail) == (False, True)
