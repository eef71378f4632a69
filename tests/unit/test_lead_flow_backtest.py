"""The alarm over a history, as it would have rung then."""

import csv
import json
import os
import random
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from salesfx.cli.lead_flow_backtest import backtest
from salesfx.lead_flow.backtest import Backtest, naive
from salesfx.lead_flow.episodes import CALM_DAYS, Look, episodes
from salesfx.lead_flow.judgement import Window
from salesfx.lead_flow.naive import NAIVE_RULES
from salesfx.lead_flow.sharing import shares
from salesfx.lead_flow.usual import LeadFlow
from salesfx.settings import Settings
from tests.unit.test_lead_flow import MONDAY, steady

LOW = Window(1, 3, 20.0, 20.0, 5, 1e-5, 1e-3, None)
WORSE = Window(1, 0, 20.0, 20.0, 5, 1e-9, 1e-3, None)


def looks(ringing: dict[int, Window], until: int = 40) -> list[Look]:
    """Look every day."""
    return [Look(float(day), ringing.get(day)) for day in range(until)]


def test_what_rings_again_soon_is_the_same_episode() -> None:
    """It ends when it has been calm for some days, and shows the window that said most."""
    calm = CALM_DAYS
    found = list(episodes(looks({5: LOW, 5 + calm: WORSE, 20: LOW})))
    assert [(one.start, one.end) for one in found] == [(5, 5 + calm), (20, 20)]
    assert found[0].window is WORSE
    assert found[0].at == 5 + calm


def test_an_episode_that_lasts_to_the_end_is_open() -> None:
    """Nobody knows yet when it ends."""
    assert [one.end for one in episodes(looks({39: LOW}))] == [None]


def test_a_slump_in_a_history_is_one_episode_and_nothing_else_rings() -> None:
    """Five days with a fifth of the leads."""
    counts = steady(70, 200)
    for day in range(150, 155):
        counts[day] = [counts[day][0] // 5]
    [episode] = Backtest(LeadFlow(MONDAY, counts), lambda _: 1.0).outcome.episodes
    assert episode.start == 151, "after the first of these days"
    assert episode.end is not None
    assert episode.end <= 155 + 14, "once it has left the longest window"


def test_later_days_do_not_change_what_rang() -> None:
    """As it would have run then: a shorter history has the same beginning."""
    counts = steady(20, 160)
    counts[100:104] = [[2]] * 4
    long = Backtest(LeadFlow(MONDAY, counts), lambda _: 1.0).outcome.episodes
    short = Backtest(LeadFlow(MONDAY, counts[:120]), lambda _: 1.0).outcome.episodes
    assert short
    assert long[0] == short[0]


@pytest.mark.parametrize("slots", [1, 24])
def test_drops_that_are_put_in_are_found_by_their_size(slots: int) -> None:
    """Every silence, within a day and a half at 70 leads a day; of drops of a tenth hardly any; the history is as before."""
    counts = steady(70, 120, slots=slots)
    before = [list(day) for day in counts]
    run = Backtest(LeadFlow(MONDAY, counts), lambda _: 1.0)
    silence, little = run.inject(1.0, 3), run.inject(0.1, 3)
    assert silence.found == silence.drops > 20
    assert (silence.greatest_delay or 9) <= 1.5
    assert little.found < little.drops / 5
    assert counts == before
    assert run.inject(1.0, 3) == silence, "the chance is seeded"


def test_rules_of_thumb_ring_more_often() -> None:
    """Of 8 leads a day half of the week's mean comes by chance; the same drops are put in."""
    flow = LeadFlow(MONDAY, steady(8, 400))
    rules = {name: naive(flow, rule, (1.0, 3)) for name, rule in NAIVE_RULES.items()}
    ours = Backtest(flow, lambda _: 1.0).outcome
    half = rules["below half of the mean of 7 days"]
    assert half.episodes > 5 * max(1, len(ours.episodes))
    assert half.found is not None


def test_sources_share_what_they_may_ring() -> None:
    """Equally; one that hardly has leads takes nothing from the others."""
    usual = {name: LeadFlow(MONDAY, steady(rate, 100)).usual(100) for name, rate in (("a", 20), ("b", 3), ("c", 0.01))}
    parts = shares({**usual, "new": None}, 1.0)
    assert (parts["a"], parts["b"]) == (0.5, 0.5)
    assert parts["c"] <= 0.5


# The command.


def written(path: Path, rows: list[tuple[str, str]]) -> Path:
    """Write an export."""
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([("When", "From"), *rows])
    return path


def leads(days: int = 120, rate: float = 30, form: str = "%Y-%m-%d") -> list[tuple[str, str]]:
    """Draw leads, a row each; ten days of nothing are among them."""
    chance = random.Random(2)
    begin = datetime(2026, 1, 5)  # noqa: DTZ001 - as a file writes it
    rows = []
    for number, [count] in enumerate(steady(rate, days, seed=4)):
        for _ in range(0 if 90 <= number < 100 else count):
            moment = begin + timedelta(days=number, seconds=chance.randrange(8 * 3600, 18 * 3600))
            rows.append((moment.strftime(form), chance.choice(["Web ", "web", "Fair"])))
    return rows


def run(*arguments: str) -> Result:
    """Call it with the settings' defaults."""
    return CliRunner().invoke(backtest, [str(argument) for argument in arguments], obj=Settings())


def answer(*arguments: str) -> dict[str, Any]:
    """Give what it prints as JSON."""
    done = run(*arguments, "--json", "--country", "")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_it_tells_when_it_would_have_rung(tmp_path: Path) -> None:
    """Day by day where the file has dates, for all leads and each source."""
    file = written(tmp_path / "leads.csv", leads())
    found = answer(str(file), "--time-column", "When", "--source-column", "From")
    assert found["looks"] == "daily"
    assert [flow["source"] for flow in found["flows"]] == [None, "fair", "web"], "sources count as in the tables"
    for flow in found["flows"][::2]:
        assert flow["episodes"][0]["start"] in {"2026-04-05", "2026-04-06"}
        assert flow["episodes"][0]["observed"] <= 2
    assert found["flows"][0]["false_alarms_per_year"] == 1
    assert found["flows"][1]["false_alarms_per_year"] == 0.5


def test_with_times_it_looks_every_hour(tmp_path: Path) -> None:
    """And so it knows within the day."""
    file = written(tmp_path / "leads.csv", leads(rate=60, form="%d.%m.%Y %H:%M"))
    found = answer(str(file), "--time-column", "When", "--date-format", "%d.%m.%Y %H:%M")
    assert found["looks"] == "hourly"
    assert found["flows"][0]["episodes"][0]["start"].startswith("2026-04-05T")


def test_drops_and_rules_are_told(tmp_path: Path) -> None:
    """In words."""
    file = written(tmp_path / "leads.csv", leads())
    done = run(str(file), "--time-column", "When", "--inject", "100", "--compare", "--country", "")
    assert done.exit_code == 0, done.output
    assert "drops of 100 % over 3 days: " in done.output
    assert "below half of the mean of 7 days: " in done.output


def test_rows_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """The others are judged; the status tells."""
    rows = leads()
    rows[3:3] = [("31/31/2026", "web"), ("", "web")]
    done = run(str(written(tmp_path / "leads.csv", rows)), "--time-column", "When", "--country", "")
    assert done.exit_code == 1
    assert "row 5: the time '31/31/2026' is not an ISO date" in done.output
    assert "row 6: there is no time" in done.output
    assert "2 of them refused" in done.output


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([], (), "no row of the file can be used"),
        ([("2026-01-05", "web")], (), "1 days are too few"),
        ([("2006-01-05", "web"), ("2026-01-05", "web")], (), "more than ten years"),
        (
            [("2026-01-05", "web")],
            ("--time-column", "Wen"),
            "no column 'Wen', which --time-column reads; it has 'When', 'From'",
        ),
        ([("2026-01-05", "web")], ("--date-format", "dmy"), "is iso, day-first, month-first or a format with %"),
        ([("2026-01-05", "web")], ("--country", "XX"), "no public holidays are known"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, rows: list[tuple[str, str]], options: tuple[str, ...], message: str
) -> None:
    """With the file's name, or the option's."""
    done = run(str(written(tmp_path / "leads.csv", rows)), "--time-column", "When", *options)
    assert done.exit_code == 2 or done.exception is not None
    assert message in done.output + str(done.exception)


def test_numbers_of_leads_may_stand_in_a_column(tmp_path: Path) -> None:
    """A row a day."""
    days = [((date(2026, 1, 5) + timedelta(n)).isoformat(), str(count)) for n, [count] in enumerate(steady(30, 60))]
    found = answer(str(written(tmp_path / "days.csv", days)), "--time-column", "When", "--count-column", "From")
    assert found["flows"][0]["leads"] == sum(int(count) for _, count in days)


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    """As a PNG."""
    file, picture = written(tmp_path / "leads.csv", leads()), tmp_path / "leads.png"
    answer(str(file), "--time-column", "When", "--plot", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.external_data
def test_leads_of_a_company() -> None:
    """Real-looking ones, 70 a day: at most one alarm a year, and every silence is found within two days."""
    file = Path(os.environ["SALESFX_TEST_DATA"]) / "website_leads" / "clicks.csv"
    found = answer(
        str(file), "--time-column", "Created_On", "--source-column", "Source", "--inject", "100", "--days", "3"
    )
    total = found["flows"][0]
    assert len(total["episodes"]) <= 1
    assert total["injected"]["found"] == total["injected"]["drops"] == 60
    assert total["injected"]["greatest_delay_days"] <= 2
    assert len(found["flows"]) == 7
