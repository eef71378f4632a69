"""What events cost that come months late, or twice."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.progress import Progress

from bench import load, plots
from bench.contenders import contender
from bench.contenders.contender import Place
from bench.results import keep, spread, table
from bench.surroundings import progress_bars, servers
from bench.throughput import timed
from salesfx.events import TOPICS
from salesfx.settings import Settings

MIXES = {
    "in order": (0.0, 0.0),
    "10 % late, 10 % twice": (0.1, 0.1),
    "50 % late, 10 % twice": (0.5, 0.1),
}
"""The share of events that come at any later place up to the end of two years, and of those that come a second time."""
_FIRST = next(iter(MIXES))


@click.command(short_help="What events cost that are late, or come twice.")
@click.option("--events", default=400_000, show_default=True, help="Different events; what comes twice is on top.")
@click.option("--runs", default=3, show_default=True, help="Runs of each mix.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Keep the figures here instead.")
def command(events: int, runs: int, file: Path | None) -> None:
    """Let one worker take the same events to the tables in order and out of it, by turns; the tables must be the same."""
    with servers() as (local, settings, _), progress_bars() as bars:
        mixes = [_Mix(settings, name, events, bars) for name in MIXES]
        rates: dict[str, list[float]] = {name: [] for name in MIXES}
        found = []
        for number in range(runs):
            turn = number % len(mixes)
            for mix in mixes[turn:] + mixes[:turn]:
                rate, totals = mix.measure(settings, f"r{number}", bars)
                rates[mix.name].append(rate)
                found.append(totals)
                bars.console.print(f"run {number + 1}: {mix.name} {rate:,.0f} events/s")
                local.check()
    if any(totals != found[0] for totals in found):
        raise SystemExit("the same events came to different tables")
    rows = {mix.name: {"rate": spread(rates[mix.name]), "messages": mix.messages} for mix in mixes}
    figures = {"events": events, "mixes": rows}
    click.echo(f"kept in {keep('disorder', figures, file)}\n")
    click.echo(shown(figures))


class _Mix:
    """One mix of the same events, in topics of its own."""

    def __init__(self, settings: Settings, name: str, events: int, bars: Progress) -> None:
        self.name = name
        self._prefix = f"mix{list(MIXES).index(name)}."
        late, twice = MIXES[name]
        messages = list(load.disordered(events, late, twice) if late or twice else load.in_order(events))
        self.messages = len(messages)
        load.publish(msgspec.structs.replace(settings, topic_prefix=self._prefix), messages, self.messages, bars)

    def measure(self, settings: Settings, run: str, bars: Progress) -> tuple[float, Any]:
        """Make the tables anew; give the messages a second, and what the tables came to."""
        topics = {topic: self._prefix + topic for topic in TOPICS}
        with tempfile.TemporaryDirectory(prefix="salesfx-bench-") as folder:
            place = Place(settings.kafka, settings.redis, topics, settings.partitions, self.messages, run, Path(folder))
            with contender("salesfx").run(place) as running:
                return timed(running.done, self.messages, self.name, bars), running.totals()


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as a table."""
    rows = figures["mixes"]
    first = rows[_FIRST]["rate"]["median"]
    return table(
        ("", "messages", "messages/s (median)", "least to greatest", "of the rate in order"),
        [
            (
                name,
                f"{row['messages']:,}",
                f"{row['rate']['median']:,.0f}",
                f"{row['rate']['least']:,.0f} to {row['rate']['greatest']:,.0f}",
                f"{row['rate']['median'] / first:.2f}",
            )
            for name, row in rows.items()
        ],
    )


def draw(figures: Mapping[str, Any], file: Path) -> None:
    """Draw them as bars."""
    plots.bars({name: row["rate"] for name, row in figures["mixes"].items()}, "messages per second", file)
