"""Instants compare as instants; the local date of the business decides where they count."""

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salesfx import business_time
from salesfx.business_time import (
    BusinessTime,
    from_instant,
    iso_day,
    iso_instant,
    parse_day,
    parse_instant,
    to_instant,
)

ZONES = [
    "Europe/Sofia",
    "UTC",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/St_Johns",
    "Pacific/Kiritimati",
]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
        ("2026-10-05T09:30:00+03:00", "2026-10-05T06:30:00.000000Z"),
        ("2026-10-05t09:30:00z", "2026-10-05T09:30:00.000000Z"),
        ("2026-10-05T09:30:00.5-00:00", "2026-10-05T09:30:00.500000Z"),
        ("2026-10-05T09:30:00.1234569Z", "2026-10-05T09:30:00.123456Z"),
        ("2026-12-31T23:59:59.9999999Z", "2026-12-31T23:59:59.999999Z"),
        ("2026-10-05T09:30:00.0000009" + "9" * 50 + "Z", "2026-10-05T09:30:00.000000Z"),
        ("1960-02-29T00:00:00.000001+23:59", "1960-02-28T00:01:00.000001Z"),
    ],
)
def test_an_instant_is_read_to_the_microsecond(text: str, utc: str) -> None:
    """Further digits drop: rounding up would move the last moment of a year."""
    instant = parse_instant(text, 1900, 2100)
    assert iso_instant(instant) == utc
    assert to_instant(from_instant(instant)) == instant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-10-05",
        "2026-10-05T09:30:00",
        "2026-10-05 09:30:00Z",
        "2026-10-05T09:30Z",
        "2026-10-05T09:30:00+03",
        "2026-10-05T09:30:00+0300",
        "2026-10-05T09:30:00+24:00",
        "2026-10-05T09:30:00+01:60",
        "2026-10-05T24:00:00Z",
        "2026-10-05T09:60:00Z",
        "2026-10-05T09:30:00.Z",
        "2026-10-05T09:30:00,5Z",
        "2026-10-05T09:30:00Z\n",
        "20261005T093000Z",
        "2026-W41-1T09:30:00Z",
        "+2026-10-05T09:30:00Z",
        "\u0662026-10-05T09:30:00Z",
    ],
)
def test_what_is_no_rfc_3339_instant_is_refused(text: str) -> None:
    """Python's own reader takes many of them, some versions more than others."""
    with pytest.raises(ValueError, match="is not an RFC 3339 instant with an offset"):
        parse_instant(text, 2000, 2100)


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-06-30T23:59:60Z",
    ],
)
def test_a_moment_that_does_not_exist_is_refused(text: str) -> None:
    """Leap seconds among them: no calendar of a CRM has them."""
    with pytest.raises(ValueError, match="is not a moment of the calendar"):
        parse_instant(text, 2000, 2100)


def test_years_are_those_that_are_written() -> None:
    """Not those in UTC."""
    assert iso_instant(parse_instant("2000-01-01T00:00:00+14:00", 2000, 2100)) == "1999-12-31T10:00:00.000000Z"
    assert iso_instant(parse_instant("2100-12-31T23:00:00-12:00", 2000, 2100)) == "2101-01-01T11:00:00.000000Z"
    for text in ("1999-12-31T23:59:59-12:00", "2101-01-01T00:00:00+14:00"):
        with pytest.raises(ValueError, match="is out of the years 2000 to 2100"):
            parse_instant(text, 2000, 2100)


def test_days() -> None:
    """From the first day of the calendar to the last."""
    assert parse_day("0001-01-01", 1, 9999) == 1
    assert parse_day("9999-12-31", 1, 9999) == date.max.toordinal()
    assert iso_day(parse_day("2028-02-29", 2000, 2100)) == "2028-02-29"
    for text in ("2026-1-05", "20261005", "2026-W41-1", "2026-10-05T", "2026-10-05\n", ""):
        with pytest.raises(ValueError, match="is not a date like 2026-10-05"):
            parse_day(text, 2000, 2100)
    for text in ("2026-02-29", "2026-13-01", "2026-04-31"):
        with pytest.raises(ValueError, match="is not a day of the calendar"):
            parse_day(text, 2000, 2100)
    with pytest.raises(ValueError, match="is out of the years 1 to 9999"):
        parse_day("0000-01-01", 1, 9999)


@settings(max_examples=500, deadline=None)
@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 12, 31)),  # noqa: DTZ001 - the offset is drawn apart
    st.integers(-23 * 60, 23 * 60),
)
def test_reading_agrees_with_the_calendar(moment: datetime, minutes: int) -> None:
    """Whatever the offset."""
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert from_instant(parse_instant(aware.isoformat(), 2000, 2100)) == aware


def test_the_local_date_decides() -> None:
    """Half an hour before midnight in UTC it is the next month in Sofia."""
    local = BusinessTime("Europe/Sofia").local(parse_instant("2026-09-30T21:30:00Z", 2000, 2100))
    assert local == (date(2026, 10, 1).toordinal(), "2026-10-01", "2026-10-01T00")


def test_the_hour_that_comes_twice_in_autumn_is_one() -> None:
    """And the one that is left out in spring does not come."""
    sofia = BusinessTime("Europe/Sofia")

    def hours(day: str) -> list[str]:
        begin = parse_instant(f"{day}T00:00:00+02:00", 2000, 2100)
        return [sofia.local(begin + hour * 3_600_000_000).hour[-2:] for hour in range(6)]

    assert hours("2026-10-25") == ["01", "02", "03", "03", "04", "05"]
    assert hours("2026-03-29") == ["00", "01", "02", "04", "05", "06"]


@settings(max_examples=800, deadline=None)
@given(st.sampled_from(ZONES), st.datetimes(datetime(2000, 1, 1), datetime(2100, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001
def test_local_dates_are_those_of_the_time_zone(zone: str, moment: datetime) -> None:
    """In zones with odd offsets, with half an hour of summer time, and with a day that was left out, too."""
    there = moment.astimezone(ZoneInfo(zone))
    local = BusinessTime(zone).local(to_instant(moment))
    assert local == (there.toordinal(), there.date().isoformat(), there.strftime("%Y-%m-%dT%H"))


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """And forgetting changes no date."""
    monkeypatch.setattr(business_time, "_REMEMBERED", 3)
    sofia = BusinessTime("Europe/Sofia")
    begin = parse_instant("2026-09-30T20:00:00Z", 2000, 2100)
    quarters = [begin + quarter * 900_000_000 for quarter in range(10)]
    assert [sofia.local(instant).date for instant in quarters] == ["2026-09-30"] * 4 + ["2026-10-01"] * 6
    assert len(sofia._known) <= 3
