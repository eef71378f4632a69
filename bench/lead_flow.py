"""Whether the lead flow's alarm keeps its budget on simulated flows, and how soon it sees a drop beside the best possible."""

import math
import multiprocessing
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import click

from bench.results import keep, table
from salesfx.lead_flow.backtest import Backtest
from salesfx.lead_flow.episodes import CALM_DAYS
from salesfx.lead_flow.usual import LeadFlow

_FIRST = date(2024, 1, 1)
_WEEK = (1.3, 1.25, 1.2, 1.15, 1.1, 0.6, 0.4)
_SUM = sum(_WEEK)
_BUSINESS = (9, 18)
_YEARS = 2
_BEGIN = 84
_HOLIDAYS, _ON_A_HOLIDAY = 12, 0.25
_YEAR = 365.25
_DROPS = ((1.0, 3), (0.7, 3), (0.7, 14), (0.5, 14))


@dataclass(frozen=True)
class World:
    """How a flow is drawn in which no alarm would be right."""

    rate: float
    scatter: float = 1.0
    """Variance of a day's count by its mean."""
    slots: int = 1
    trend: float = 0.0
    """Logarithm by which the rate changes in a year."""
    season: float = 0.0
    holidays: bool = False
    step: float = 1.0
    """By which the rate is multiplied after a year."""


WORLDS = {
    "0.5 a day": World(0.5),
    "2 a day": World(2),
    "8 a day": World(8),
    "70 a day": World(70),
    "3,000 a day": World(3000),
    "2 a day, scatter 2": World(2, 2),
    "8 a day, scatter 2": World(8, 2),
    "70 a day, scatter 3": World(70, 3),
    "3,000 a day, scatter 20": World(3000, 20),
    "30 a day, a third more each year": World(30, trend=math.log(4 / 3)),
    "30 a day, a quarter fewer each year": World(30, trend=-math.log(4 / 3)),
    "70 a day, scatter 2, seasons of 30 %": World(70, 2, season=0.3),
    "70 a day, scatter 2, 12 holidays": World(70, 2, holidays=True),
    "30 a day, three times as many after a year": World(30, step=3.0),
    "8 a day, looked at hourly": World(8, slots=24),
    "70 a day, scatter 2, looked at hourly": World(70, 2, slots=24),
}
POWER = ("2 a day", "8 a day", "70 a day", "70 a day, scatter 3", "3,000 a day")


@click.command(short_help="False alarms and power of the lead flow's alarm, on simulated flows.")
@click.option("--runs", default=10, show_default=True, help=f"Histories of {_YEARS} years of each kind of flow.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Keep the figures here instead.")
def command(runs: int, file: Path | None) -> None:
    """Judge simulated flows with a budget of one false alarm a year."""
    rows: dict[str, Any] = {}
    with multiprocessing.Pool(os.cpu_count()) as pool:
        for name, row in pool.imap(_measured, [(name, runs) for name in WORLDS]):
            rows[name] = row
            click.echo(f"{name}: {row['rung']} in {row['years']:.0f} years")
    figures = {"worlds": rows}
    click.echo(f"kept in {keep('lead_flow', figures, file)}\n")
    click.echo(shown(figures))


def _measured(task: tuple[str, int]) -> tuple[str, dict[str, Any]]:
    name, runs = task
    world, rung, years, usable = WORLDS[name], 0, 0.0, 0.0
    found: dict[str, list[tuple[int, int, float | None]]] = {}
    for number in range(runs):
        run = Backtest(flow_of(world, number), lambda _: 1.0)
        in_time = [one for one in run.outcome.episodes if one.start > _BEGIN]
        rung += len(in_time)
        years += _YEARS
        usable += run.outcome.false_alarms_expected / run.outcome.years
        for share, days in _DROPS if name in POWER and number < 3 else ():  # noqa: PLR2004 - 180 drops are enough
            drops = run.inject(share, days)
            found.setdefault(_drop(share, days), []).append((drops.found, drops.drops, drops.median_delay))
    row: dict[str, Any] = {"rung": rung, "years": years, "usable": usable / runs}
    if found:
        best = {_drop(share, days): oracle(world, share, days) for share, days in _DROPS}
        row["power"] = {drop: {"ours": _pooled(parts), "best": best[drop]} for drop, parts in found.items()}
    return name, row


def _drop(share: float, days: int) -> str:
    return f"{share:.0%} for {days} days"


def _pooled(parts: Sequence[tuple[int, int, float | None]]) -> dict[str, float | None]:
    delays = [delay for _, _, delay in parts if delay is not None]
    share = sum(found for found, _, _ in parts) / sum(drops for _, drops, _ in parts)
    return {"share": share, "delay": statistics.median(delays) if delays else None}


def means_of(world: World, days: int, closed: frozenset[int]) -> list[float]:
    """Give the expected count of each day."""
    found = []
    for day in range(days):
        year = day / _YEAR
        level = world.rate * math.exp(world.trend * year) * (1 + world.season * math.sin(2 * math.pi * year))
        level *= world.step if day > _BEGIN + _YEAR else 1.0
        found.append(level * (_ON_A_HOLIDAY if day in closed else 7 * _WEEK[day % 7] / _SUM))
    return found


def flow_of(world: World, seed: int) -> LeadFlow:
    """Draw a history."""
    import numpy as np  # noqa: PLC0415 - only the bench's environment has it

    chance = np.random.default_rng(seed)
    days = _BEGIN + int(_YEARS * _YEAR)
    closed = (
        frozenset(int(day) for day in chance.choice(days, _HOLIDAYS * _YEARS, replace=False))
        if world.holidays
        else frozenset()
    )
    means = np.array(means_of(world, days, closed))
    if world.scatter > 1:
        means = chance.gamma(means / (world.scatter - 1), world.scatter - 1)
    if world.slots > 1:
        hours = np.array([1.0 if _BUSINESS[0] <= hour < _BUSINESS[1] else 0.1 for hour in range(world.slots)])
        counts = chance.poisson(means[:, None] * hours / hours.sum()).tolist()
    else:
        counts = chance.poisson(means)[:, None].tolist()
    return LeadFlow(_FIRST, counts, {_FIRST + timedelta(day) for day in closed}.__contains__)


def oracle(world: World, share: float, days: int) -> dict[str, float | None]:
    """Give what can be had at best: Page's CUSUM of the likelihood ratio, told the true rates, the scatter and the drop.

    Its threshold is set to one false alarm a year, counted in episodes like ours, on simulated flows.
    """
    import numpy as np  # noqa: PLC0415

    chance = np.random.default_rng(7)
    score = _score(world.scatter, min(share, 0.999))

    def drawn(means: Any) -> Any:
        rates = chance.gamma(means / (world.scatter - 1), world.scatter - 1) if world.scatter > 1 else means
        return chance.poisson(rates)

    means = np.array(means_of(world, 400 * 364, frozenset()))
    sums, at = [], 0.0
    for count, mean in zip(drawn(means).tolist(), means.tolist(), strict=True):
        at = max(0.0, at + score(count, mean))
        sums.append(at)
    low, high = 0.0, 50.0
    while high - low > 0.01:  # noqa: PLR2004 - of a logarithm of likelihoods
        middle = (low + high) / 2
        low, high = (middle, high) if _episodes(sums, middle) > len(sums) / _YEAR else (low, middle)
    delays = []
    trials = 2000
    for trial in range(trials):
        lasting = means[trial % 7 : trial % 7 + days]
        at = sums[int(chance.integers(len(sums)))]
        at = at if at < high else 0.0
        for number, (count, mean) in enumerate(
            zip(drawn(lasting * (1 - share)).tolist(), lasting.tolist(), strict=True)
        ):
            at = max(0.0, at + score(count, mean))
            if at >= high:
                delays.append(number + 1)
                break
    return {"share": len(delays) / trials, "delay": statistics.median(delays) if delays else None}


def _score(scatter: float, share: float) -> Callable[[int, float], float]:
    """Give the logarithm of the likelihood ratio of a day: Poisson's, or the negative binomial's with that scatter."""
    if scatter <= 1:
        return lambda count, mean: count * math.log(1 - share) + mean * share

    def score(count: int, mean: float) -> float:
        before, after = mean / (scatter - 1), mean * (1 - share) / (scatter - 1)
        gammas = math.lgamma(count + after) - math.lgamma(after) - math.lgamma(count + before) + math.lgamma(before)
        return gammas + (before - after) * math.log(scatter)

    return score


def _episodes(sums: Sequence[float], threshold: float) -> int:
    number, last = 0, -math.inf
    for day, value in enumerate(sums):
        if value >= threshold:
            number += day - last > CALM_DAYS
            last = day
    return number


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as tables."""
    rows = figures["worlds"]
    alarms = table(
        ("flow", "false alarms a year", "error of the simulation"),
        [
            (name, f"{row['rung'] / row['years']:.2f}", f"{math.sqrt(max(row['rung'], 1)) / row['years']:.2f}")
            for name, row in rows.items()
        ],
    )
    power = table(
        ("flow", "missing", "found", "at best", "median delay, days", "at best"),
        [
            (
                name,
                drop,
                f"{both['ours']['share']:.0%}",
                f"{both['best']['share']:.0%}",
                _days(both["ours"]["delay"]),
                _days(both["best"]["delay"]),
            )
            for name, row in rows.items()
            for drop, both in row.get("power", {}).items()
        ],
    )
    return f"{alarms}\n\n{power}"


def _days(delay: float | None) -> str:
    return "" if delay is None else f"{delay:g}"
