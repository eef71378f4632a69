"""What is said of a lead flow, in words; the numbers come from `salesfx.lead_flow.live`."""

import math
from collections.abc import Sequence
from datetime import datetime

from salesfx.lead_flow.judgement import Window
from salesfx.lead_flow.live import SINCE_LAST_LEAD, Flow, FlowState
from salesfx.lead_flow.usual import LEAST_DAYS

_DAYS_A_YEAR = 365.25
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_WEEK = 7
_ENOUGH = LEAST_DAYS + _WEEK
"""Days of history with which a week is judged, and its baseline is as long as it must be."""
_ROUND = 10


def sentence(flow: Flow, at: datetime, trouble: Sequence[str] = (), source: str | None = None) -> str:
    """Explain a flow's state.

    Args:
        flow: What is known.
        at: The moment; in the business time zone.
        trouble: What is wrong with the way of the events into the tables.
        source: Whose leads they are; None: all.

    """
    if flow.state is FlowState.FEED_BROKEN:
        return (
            "The feed is broken, so nothing can be said of the lead flow: that no leads, or few, are in the tables may mean "
            f"that they do not get there. {' '.join(trouble)}".rstrip()
        )
    leads = f" from {source}" if source is not None else ""
    if flow.state is FlowState.SILENT and flow.last_lead is not None:
        window = flow.windows[SINCE_LAST_LEAD]
        return (
            f"No lead{leads} for {duration(window.days)}, {since(flow.last_lead, at)}; {expected(window)} expected in that "
            f"time, and {rarity(window.probability)} such times has none by chance."
        )
    if flow.state is FlowState.TOO_LITTLE_EVIDENCE:
        return _too_little(flow, leads)
    name = flow.worst
    if name is None:
        return f"Too little is known of the leads{leads}."
    window = flow.windows[name]
    said = f"{_counted(window, leads)}; {expected(window)} expected {_bound(window)}"
    if flow.since is not None:
        return f"{said}; {since(flow.since, at)}."
    return f"{said}. {_seen(flow)}"


def _too_little(flow: Flow, leads: str) -> str:
    """Tell why nothing can be said, and what could have been seen."""
    if flow.last_lead is None:
        return f"Too little evidence: no lead{leads} is known of the last months."
    few = f"Too little evidence: leads{leads} are known of {_days(flow.history_days)}, and to know what is usual takes {_ENOUGH}."
    longest = max(flow.windows.values(), key=lambda window: window.days, default=None)
    if flow.history_days >= _ENOUGH and longest is not None:
        few = f"Too little evidence: {_counted(longest, leads)}; {expected(longest)} expected; where so few come, none at all may be chance."
    return f"{few} {_seen(flow)}"


def _seen(flow: Flow) -> str:
    """Tell the smallest drop that could have been seen."""
    drops = {name: window.smallest_drop for name, window in flow.windows.items() if window.smallest_drop is not None}
    if not drops:
        return "No drop could have been seen, not even if none had come."
    name = min(drops, key=drops.__getitem__)
    return f"The smallest drop that could have been seen is one of {percent(drops[name])} over {period(flow.windows[name])}."


def _bound(window: Window) -> str:
    if window.least < 0 or window.level <= 0:
        return "(even none would not be unusual)"
    return f"(at least {number(window.least + 1)} in all but {_frequency(window)})"


def _frequency(window: Window) -> str:
    """Tell how many such periods, one after the other, have so few by chance."""
    a_year = _DAYS_A_YEAR / window.days * window.level
    if a_year > 1.5:  # noqa: PLR2004 - two, rounded
        return f"{number(round(a_year))} such periods in a year"
    years = round(1 / a_year)
    return "one such period in a year" if years == 1 else f"one such period in {number(years)} years"


def _counted(window: Window, leads: str) -> str:
    count = window.observed
    some = "No lead" if not count else "1 lead" if count == 1 else f"{number(count)} leads"
    return f"{some}{leads} in {period(window)}"


def expected(window: Window) -> str:
    """Write what was expected: with one digit where it is little."""
    return number(round(window.expected)) if window.expected >= _ROUND else f"{window.expected:.1f}"


def period(window: Window) -> str:
    """Name a window."""
    return "the last 24 hours" if window.days == 1 else f"the last {duration(window.days)}"


def duration(days: float) -> str:
    """Write a time, given in days, in hours or days."""
    hours = round(days * 24)
    if hours == 0:
        return "less than an hour"
    if hours < 48:  # noqa: PLR2004 - two days
        return "1 hour" if hours == 1 else f"{hours} hours"
    return _days(round(days))


def _days(days: int) -> str:
    return "1 day" if days == 1 else f"{number(days)} days"


def since(moment: datetime, at: datetime) -> str:
    """Write since when, as one would say it then: with the hour, as far as a week back."""
    ago = at.toordinal() - moment.toordinal()
    if ago == 0:
        return f"since {moment:%H:%M}"
    if ago < _WEEK:
        return f"since {_WEEKDAYS[moment.weekday()]} {moment:%H:%M}"
    year = f" {moment.year}" if moment.year != at.year else ""
    return f"since {moment.day} {_MONTHS[moment.month - 1]}{year}"


def rarity(probability: float) -> str:
    """Write how rare something is: one of so many, rounded to two digits."""
    if probability <= 0 or probability < 1e-9:  # noqa: PLR2004 - more would be no more credible
        return "less than one of a billion"
    one_of = 1 / probability
    if one_of < _ROUND:
        return f"one of {one_of:.1f}"
    digits = len(str(int(one_of))) - 2
    return f"one of {number(round(one_of / 10**digits) * 10**digits)}"


def percent(share: float) -> str:
    """Write a share in percent; what is above is not told as less."""
    return f"{math.ceil(share * 100)} %"


def number(value: int) -> str:
    """Group digits in threes, with spaces."""
    return f"{value:,}".replace(",", " ")
