"""Which target holds, which lines are refused, and how a month's working time goes by."""

from datetime import date, datetime
from pathlib import Path

import pytest

from salesfx.lead_flow.closed_days import is_working
from salesfx.settings import SettingsError, load_settings
from salesfx.targets.lines import TargetLine, Targets, check_targets
from salesfx.targets.working_time import OfficeHours, WorkingTime


def test_a_target_holds_until_a_later_line_says_otherwise() -> None:
    """Each number by itself, whatever the order of lines; 0 ends it."""
    targets = Targets(
        [
            TargetLine(since="2026-12", leads=180),
            TargetLine(since="2026-01", leads=250, conversion=0.25),
            TargetLine(since="2027-01", leads=0),
        ]
    )
    months = ("2025-12", "2026-01", "2026-11", "2026-12", "2027-01", "2030-01")
    assert [targets.target(month, "leads") for month in months] == [None, 250, 250, 180, None, None]
    assert targets.target("2030-01", "conversion") == 0.25


def test_money_is_exact() -> None:
    """In hundredths, from text or whole units."""
    targets = Targets([TargetLine(since="2026-01", booked_sales_value="120000.55", qualified_leads_value=3)])
    assert targets.target("2026-01", "booked_sales_value") == 12_000_055
    assert targets.target("2026-01", "qualified_leads_value") == 300


def test_the_target_in_all_is_the_sum_of_its_categories() -> None:
    """Unless it was set in all later."""
    targets = Targets(
        [
            TargetLine(since="2026-01", booked_sales=10),
            TargetLine(since="2026-03", category="expansion", booked_sales=4),
            TargetLine(since="2026-04", category="new_account", booked_sales=3),
            TargetLine(since="2026-06", booked_sales=9),
        ]
    )
    shown = [targets.target(f"2026-{month:02d}", "booked_sales") for month in (1, 2, 3, 4, 5, 6)]
    assert shown == [10, 10, 4, 7, 7, 9]
    assert targets.target("2026-04", "booked_sales", category="expansion") == 4
    assert targets.target("2026-06", "booked_sales", category="expansion") is None


def test_salespeople_have_their_own() -> None:
    """By the name as events have it; the team's is not theirs, and who has none any more is not named."""
    targets = Targets(
        [
            TargetLine(since="2026-01", leads=100),
            TargetLine(since="2026-01", salesperson=" Мария ", leads=20),
            TargetLine(since="2026-05", salesperson="Мария", leads=0),
        ]
    )
    assert targets.target("2026-04", "leads", "Мария") == 20
    assert targets.target("2026-04", "leads", "Иван") is None
    assert targets.salespeople("2026-04") == ["Мария"]
    assert targets.salespeople("2026-05") == []


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([TargetLine(since="2026-13", leads=1)], "line 1: since is '2026-13'"),
        ([TargetLine(since="2026-01")], "line 1: it sets no target"),
        ([TargetLine(since="2026-01", category="expansion", leads=1)], "leads is not broken down by category"),
        ([TargetLine(since="2026-01", salesperson=" ", leads=1)], "salesperson is blank"),
        ([TargetLine(since="2026-01", leads=1), TargetLine(since="2026-01", leads=1)], "line 2: .*in line 1 already"),
        (
            [
                TargetLine(since="2026-01", salesperson="a", leads=1),
                TargetLine(since="2026-01", salesperson="a ", leads=1),
            ],
            "line 2: leads of 'a ' .* in line 1 already",
        ),
        (
            [
                TargetLine(since="2026-01", category="expansion", booked_sales=1),
                TargetLine(since="2026-01", booked_sales=2),
            ],
            "line 2: .*both in all and by category",
        ),
        ([TargetLine(since="2026-01", leads=1)] * 2001, "2001 lines are more than 2000"),
    ],
)
def test_lines_that_say_nothing_or_two_things_are_refused(lines: list[TargetLine], why: str) -> None:
    """The line is named."""
    with pytest.raises(ValueError, match=why):
        check_targets(lines)


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ('[[targets]]\nsince = "2026-01"\nlead = 1', "lead"),
        ("[[targets]]\nsince = 2026-01-01\nleads = 1", r"targets\[0\].since"),
        ('[[targets]]\nsince = "2026-01"\nconversion = 25', r"targets\[0\].conversion"),
        ('[[targets]]\nsince = "2026-01"\nleads = -1', r"targets\[0\].leads"),
        ('[[targets]]\nsince = "2026-01"\nbooked_sales_value = 0.5', r"targets\[0\].booked_sales_value"),
        ('[[targets]]\nsince = "2026-01"\nbooked_sales_value = "0.555"', r"targets\[0\].booked_sales_value"),
        ('[[targets]]\nsince = "2026-1"\nleads = 1', "targets, line 1: since"),
        ('office_hours = "18:00-09:00"', "office_hours"),
        ('office_hours = "09:00-24:30"', "office_hours"),
    ],
)
def test_settings_name_what_cannot_be_used(tmp_path: Path, toml: str, named: str) -> None:
    """Money is no binary float, a conversion no percentage, a month no date."""
    file = tmp_path / "settings.toml"
    file.write_text(toml)
    with pytest.raises(SettingsError, match=named):
        load_settings(file, {})


def test_targets_do_not_change_what_numbers_mean(tmp_path: Path) -> None:
    """Tables made under other targets are the same tables."""
    file = tmp_path / "settings.toml"
    file.write_text('office_hours = "08:00-16:30"\n[[targets]]\nsince = "2026-01"\nleads = 1')
    (tmp_path / "empty.toml").write_text("")
    settings, without = load_settings(file, {}), load_settings(tmp_path / "empty.toml", {})
    assert settings.definitions.fingerprint == without.definitions.fingerprint
    assert settings.targets[0].leads == 1


def test_working_days_of_countries() -> None:
    """Bulgaria's May of 2026 has four holidays on weekdays, one made up for; Israel rests on Friday and Saturday."""
    bulgaria = is_working("BG", ["05-29"])
    assert [day for day in range(1, 32) if date(2026, 5, day).weekday() < 5 and not bulgaria(date(2026, 5, day))] == [
        1,
        6,
        25,
        29,
    ]
    israel = is_working("IL")
    week = [date(2026, 11, 1 + number) for number in range(7)]
    assert [israel(day) for day in week] == [True, True, True, True, True, False, False]
    assert [is_working("")(day) for day in week] == [False, True, True, True, True, True, False]


def test_a_working_day_goes_by_with_its_office_hours() -> None:
    """Before they begin nothing of it, after they end all; the weekend takes nothing."""
    working_time = WorkingTime(is_working(""), OfficeHours.parse("09:00-17:00"))

    def gone(day: int, hour: int) -> float:
        return 21 * working_time.gone(2026, 11, datetime(2026, 11, day, hour))  # noqa: DTZ001 - local

    assert working_time.days(2026, 11) == 21
    shown = [gone(*at) for at in ((1, 23), (2, 9), (2, 13), (2, 17), (2, 23), (7, 12), (9, 8))]
    assert shown == pytest.approx([0, 0, 0.5, 1, 1, 5, 5])
    assert working_time.gone(2026, 10, datetime(2026, 11, 1)) == 1.0  # noqa: DTZ001
    assert working_time.gone(2026, 12, datetime(2026, 11, 30, 23)) == 0.0  # noqa: DTZ001


def test_a_month_without_working_days_goes_by_day_by_day() -> None:
    """A business that is closed all of August still has its last day."""
    working_time = WorkingTime(lambda _: False, OfficeHours.parse("09:00-17:00"))
    assert working_time.days(2026, 8) == 0
    assert working_time.gone(2026, 8, datetime(2026, 8, 16, 12)) == 0.5  # noqa: DTZ001
