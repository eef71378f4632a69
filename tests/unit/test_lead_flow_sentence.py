"""What is said of a lead flow, in words."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from salesfx.lead_flow.judgement import Window
from salesfx.lead_flow.live import SINCE_LAST_LEAD, Flow, FlowState
from salesfx.lead_flow.sentence import duration, percent, rarity, sentence, since

AT = datetime(2026, 11, 20, 14, 20, tzinfo=ZoneInfo("Europe/Sofia"))  # a Friday


def window(
    days: float, observed: int, expected: float, least: int = -1, drop: float | None = None, level: float = 0.0
) -> Window:
    """Make one; it rings where its count is not above the bound."""
    rings = observed <= least
    return Window(
        days=days,
        observed=observed,
        expected=expected,
        variance=expected,
        least=least,
        probability=level / 2 if rings else 0.4,
        level=level,
        smallest_drop=drop,
    )


def flow(state: FlowState, *windows: Window, silent: Window | None = None, history: int = 100) -> Flow:
    """Make one, whose last lead came as long ago as the silence lasts."""
    named = {f"{each.days}d": each for each in windows}
    begins = {name: AT.replace(minute=0) - timedelta(days=each.days) for name, each in named.items()}
    last_lead = None
    if silent is not None:
        named[SINCE_LAST_LEAD] = silent
        begins[SINCE_LAST_LEAD] = last_lead = AT - timedelta(days=silent.days)
    return Flow(state, named, begins, last_lead, history)


ONCE_IN_13_YEARS = 3 / 365.25 / 13
LOW = flow(
    FlowState.LOW, window(1, 6, 10.0), window(3, 14, 31.2, 18, 0.5, ONCE_IN_13_YEARS), silent=window(0.1, 0, 1.0)
)


def test_a_low_flow_tells_what_came_what_was_expected_and_since_when() -> None:
    """With the bound, and how rarely chance alone is below it."""
    assert sentence(LOW, AT) == (
        "14 leads in the last 3 days; 31 expected (at least 19 in all but one such period in 13 years); since Tuesday 14:00."
    )
    assert sentence(LOW, AT, source="website") == (
        "14 leads from website in the last 3 days; 31 expected (at least 19 in all but one such period in 13 years); "
        "since Tuesday 14:00."
    )


def test_a_silent_flow_tells_how_long() -> None:
    """And how often chance alone is as long silent."""
    silent = Window(
        days=0.25, observed=0, expected=9.04, variance=9, least=0, probability=1 / 8132, level=1e-3, smallest_drop=0.9
    )
    assert sentence(flow(FlowState.SILENT, silent=silent), AT) == (
        "No lead for 6 hours, since 08:20; 9.0 expected in that time, and one of 8 100 such times has none by chance."
    )


def test_a_flow_that_is_well_tells_what_would_have_been_seen() -> None:
    """Of a week, whatever other windows there are; in the singular where it is one."""
    week = window(7, 492, 480.4, 402, 0.224, 7 / 365.25 / 13)
    assert sentence(flow(FlowState.OK, window(1, 1, 70.0), week, window(14, 9, 960.0)), AT) == (
        "492 leads in the last 7 days; 480 expected (at least 403 in all but one such period in 13 years). "
        "The smallest drop that could have been seen is one of 23 % over the last 7 days."
    )
    assert sentence(flow(FlowState.OK, window(1, 1, 2.25)), AT).startswith(
        "1 lead in the last 24 hours; 2.2 expected (even none would not be unusual)."
    )


def test_too_little_evidence_tells_why() -> None:
    """No leads, a short history, few leads; with the smallest drop that could have been seen."""
    little = FlowState.TOO_LITTLE_EVIDENCE
    assert sentence(flow(little), AT, source="fair") == (
        "Too little evidence: no lead from fair is known of the last months."
    )
    none_seen = "No drop could have been seen, not even if none had come."
    short = flow(little, silent=window(0.1, 0, 0.2), history=1)
    assert sentence(short, AT) == (
        f"Too little evidence: leads are known of 1 day, and to know what is usual takes 35. {none_seen}"
    )
    short = flow(
        little, window(1, 60, 70.0, 30, 0.71), window(3, 60, 70.0, 30, 0.4), silent=window(0.1, 0, 0.2), history=32
    )
    assert sentence(short, AT).endswith(
        "takes 35. The smallest drop that could have been seen is one of 40 % over the last 3 days."
    )
    few = flow(little, window(7, 0, 0.7), window(14, 1, 1.44), silent=window(9, 0, 0.9))
    assert sentence(few, AT) == (
        "Too little evidence: 1 lead in the last 14 days; 1.4 expected; where so few come, none at all may be chance. "
        + none_seen
    )


def test_a_broken_feed_is_not_told_as_a_drop() -> None:
    """With what is wrong with it, and no number."""
    broken = flow(FlowState.FEED_BROKEN, window(3, 0, 210.0, 150, 0.2, 1e-3))
    told = sentence(broken, AT, ("Nothing has come through lead_created since 13:50.", "Ask Ivan."))
    assert told.startswith("The feed is broken, so nothing can be said of the lead flow: ")
    assert told.endswith(" Nothing has come through lead_created since 13:50. Ask Ivan.")
    assert "210" not in told


@pytest.mark.parametrize(
    ("days_ago", "written"),
    [
        (0.1, "since 11:56"),
        (1.0, "since Thursday 14:20"),
        (6.0, "since Saturday 14:20"),
        (7.0, "since 13 November"),
        (400.0, "since 16 October 2025"),
    ],
)
def test_since_when_as_one_would_say_it(days_ago: float, written: str) -> None:
    """Today the hour, this week the weekday, else the date."""
    assert since(AT - timedelta(days=days_ago), AT) == written


@pytest.mark.parametrize(
    ("days", "written"),
    [
        (0.001, "less than an hour"),
        (1 / 24, "1 hour"),
        (0.5, "12 hours"),
        (1.9, "46 hours"),
        (2.1, "2 days"),
        (1234.0, "1 234 days"),
    ],
)
def test_durations(days: float, written: str) -> None:
    """In the singular where it is one."""
    assert duration(days) == written


@pytest.mark.parametrize(
    ("probability", "written"),
    [
        (1.0, "one of 1.0"),
        (0.3, "one of 3.3"),
        (0.05, "one of 20"),
        (1 / 99_499, "one of 99 000"),
        (0.0, "less than one of a billion"),
    ],
)
def test_how_rare_something_is(probability: float, written: str) -> None:
    """Rounded to two digits."""
    assert rarity(probability) == written


@pytest.mark.parametrize(
    ("a_year", "written"),
    [(0.2, "one such period in 5 years"), (1.0, "one such period in a year"), (26.2, "26 such periods in a year")],
)
def test_how_often_a_bound_is_missed(a_year: float, written: str) -> None:
    """A budget may be great or small."""
    told = sentence(flow(FlowState.OK, window(7, 500, 480.0, 402, 0.2, 7 / 365.25 * a_year)), AT)
    assert f"(at least 403 in all but {written})" in told


def test_a_drop_is_not_told_as_less() -> None:
    """What is seen from 22.4 % on is not seen from 22 %."""
    assert [percent(share) for share in (0.224, 0.5, 1.0)] == ["23 %", "50 %", "100 %"]
