"""How many events a second the whole way takes, beside others that do the same or less."""

import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.progress import Progress

from bench import load, plots
from bench.contenders import NAMES, contender
from bench.contenders.contender import Contender, Place, Totals
from bench.results import keep, spread, table
from bench.surroundings import progress_bars, servers
from salesfx.events import TOPICS
from salesfx.settings import Settings

_LOOK_SECONDS = 0.02
_STALL_SECONDS = 120.0
FLOOR = "decode only"


@click.command(short_help="Events per second, beside other ways.")
@click.option("--events", default=1_000_000, show_default=True, help="Events of a run; slow contenders get a share.")
@click.option("--runs", default=3, show_default=True, help="Runs of each.")
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="These contenders only.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Keep the figures here instead.")
def command(events: int, runs: int, only: Sequence[str], file: Path | None) -> None:
    """Let contenders take turns over the same events, each from its first event done to its last."""
    contenders = [contender(name) for name in only or NAMES]
    for each in contenders:
        each.prepare(lambda line: click.echo(line, err=True))
    with servers() as (local, settings, _), progress_bars() as bars:
        loads = {share: _Load(settings, round(share * events), bars) for share in {c.share for c in contenders}}
        rates: dict[str, list[float]] = {each.name: [] for each in contenders}
        wrong: Counter[str] = Counter()
        for number in range(runs):
            turn = number % len(contenders)
            for each in contenders[turn:] + contenders[:turn]:  # nobody always comes first, or after the same one
                rate, is_right = loads[each.share].measure(each, settings, f"r{number}", bars)
                rates[each.name].append(rate)
                wrong[each.name] += not is_right
                bars.console.print(f"run {number + 1}: {each.name} {rates[each.name][-1]:,.0f} events/s")
                local.check()
    rows = {each.name: _row(each, rates[each.name], events) | {"wrong_runs": wrong[each.name]} for each in contenders}
    figures = {"events": events, "contenders": rows}
    click.echo(f"kept in {keep('throughput', figures, file)}\n")
    click.echo(shown(figures))


def _row(each: Contender, rates: list[float], events: int) -> dict[str, Any]:
    row = {"rate": spread(rates), "leaves_out": each.leaves_out, "events": round(each.share * events)}
    version = getattr(each, "version", None)  # of what is no package of ours, which bench/machine.py would name
    return row if version is None else {**row, "version": version}


class _Load:
    """Events in topics of their own, and what has to come out of them."""

    def __init__(self, settings: Settings, events: int, bars: Progress) -> None:
        self._prefix, self._events = f"load{events}.", events
        load.publish(msgspec.structs.replace(settings, topic_prefix=self._prefix), load.in_order(events), events, bars)
        self._expected = load.expected(load.in_order(events))

    def measure(self, each: Contender, settings: Settings, run: str, bars: Progress) -> tuple[float, bool]:
        """Run a contender once; give its events per second, and whether its totals are right."""
        topics = {topic: self._prefix + topic for topic in TOPICS}
        with tempfile.TemporaryDirectory(prefix="salesfx-bench-") as folder:
            place = Place(settings.kafka, settings.redis, topics, settings.partitions, self._events, run, Path(folder))
            with each.run(place) as running:
                rate = timed(running.done, self._events, each.name, bars)
                wrong = _difference(each, running.totals() if each.name != FLOOR else None, self._expected)
        if wrong and not each.may_count_twice:
            raise SystemExit(wrong)
        return rate, not wrong


def timed(done: Any, events: int, name: str, bars: Progress) -> float:
    """Wait until all events are done; give their rate from the first that is seen on."""
    task = bars.add_task(name, total=events)
    first, began, last, moved = 0, 0.0, 0, time.monotonic()
    while last < events:
        time.sleep(_LOOK_SECONDS)
        last, before, now = done(), last, time.monotonic()
        bars.update(task, completed=last)
        if last != before:
            moved = now
        if now - moved > _STALL_SECONDS:
            raise SystemExit(f"{name} stays at {last:,} of {events:,} events")
        if last and not first:
            first, began = last, now
    took = time.monotonic() - began
    bars.remove_task(task)
    return (events - first) / took


def _difference(each: Contender, totals: Totals | None, expected: Totals) -> str:
    """Say what a contender computes else than the others; nothing where it is right.

    The peers leave out entities that move to another lead, so salesfx's own totals may differ in what rests on these.
    """
    if totals is None:
        return ""
    metrics: Sequence[str] = ["leads"] if each.name.startswith("salesfx") else list(expected)
    for metric in metrics:
        if totals.get(metric) != expected[metric]:
            return f"{each.name} computes other {metric}: {totals.get(metric)}, not {expected[metric]}"
    return ""


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as a table."""
    rows = figures["contenders"]
    ours = rows.get("salesfx", {}).get("rate", {}).get("median")
    order = sorted(rows, key=lambda name: -rows[name]["rate"]["median"])
    return table(
        ("", "events/s (median)", "least to greatest", "salesfx is", "runs with wrong totals"),
        [
            (
                name,
                f"{rows[name]['rate']['median']:,.0f}",
                f"{rows[name]['rate']['least']:,.0f} to {rows[name]['rate']['greatest']:,.0f}",
                "" if not ours or name == "salesfx" else f"{ours / rows[name]['rate']['median']:.2f} times that",
                f"{rows[name]['wrong_runs']} of {len(rows[name]['rate']['runs'])}",
            )
            for name in order
        ],
    )


def draw(figures: Mapping[str, Any], file: Path) -> None:
    """Draw them as bars."""
    rows = {name: row["rate"] for name, row in figures["contenders"].items() if name != FLOOR}
    plots.bars(rows, "events per second, the whole way", file)
