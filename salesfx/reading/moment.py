"""Moments as people write them."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from salesfx.business_time import from_instant, parse_day, parse_instant
from salesfx.events import FIRST_YEAR, LAST_YEAR


def read_moment(text: str, timezone: str, *, end: bool) -> datetime:
    """Read an RFC 3339 instant, or a date of the business time zone.

    Args:
        text: What somebody wrote.
        timezone: Of the business.
        end: Whether a date stands for its end, or for its begin.

    Raises:
        ValueError: It is neither; the message shows how they are written.

    """
    try:
        if "T" in text.upper():
            return from_instant(parse_instant(text, FIRST_YEAR, LAST_YEAR))
        day = date.fromordinal(parse_day(text, FIRST_YEAR, LAST_YEAR)) + timedelta(days=end)
    except ValueError as error:
        shown = text if len(text) <= 40 else text[:40] + "..."  # noqa: PLR2004 - enough to recognise it
        raise ValueError(f"{shown!r} {error}; or write a moment like 2026-10-05T09:30:00+03:00") from None
    return datetime.combine(day, time(), ZoneInfo(timezone)).astimezone(UTC)
