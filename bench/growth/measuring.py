"""The command: one part after the other, each with servers of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bench import plots
from bench.growth import cost, giants, memory
from bench.results import keep

PARTS = {"cost": cost, "memory": memory, "giants": giants}
"""What is measured, by the name under which its figures are kept."""


@click.command(short_help="What changes when the tables have grown.")
@click.option("--events", default="1000000,10000000", show_default=True, help="Sizes at which an event's cost is told.")
@click.option("--more", default=200_000, show_default=True, help="Further events that are timed at each size.")
@click.option("--runs", default=3, show_default=True, help="How often further events are timed at each size.")
@click.option(
    "--leads", default=1_000_000, show_default=True, help="Leads whose memory is measured, a multiple of 100."
)
@click.option("--deals", default=10_000, show_default=True, help="Deals of the largest account.")
@click.option("--quotes", default=500, show_default=True, help="Quotes of the largest lead.")
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="These parts only.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Keep the figures here instead.")
def command(
    events: str, more: int, runs: int, leads: int, deals: int, quotes: int, only: tuple[str, ...], file: Path | None
) -> None:
    """Measure what grows with the tables, and what should not."""
    figures: dict[str, Any] = {}
    for name in only or PARTS:
        if name == "cost":
            figures[name] = cost.measure([int(each) for each in events.split(",")], more, runs)
        elif name == "memory":
            figures[name] = memory.measure(leads)
        else:
            figures[name] = giants.measure(deals, quotes)
    click.echo(f"kept in {keep('growth', figures, file)}\n")
    click.echo(shown(figures))


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as tables."""
    return "\n\n".join(part.shown(figures[name]) for name, part in PARTS.items() if name in figures)


def is_drawable(figures: Mapping[str, Any]) -> bool:
    """Tell whether the cost was measured, which is what the picture shows."""
    return "cost" in figures


def draw(figures: Mapping[str, Any], file: Path) -> None:
    """Draw the rate at each size as bars."""
    rows = {f"{int(size):,} events": row["further"] for size, row in figures["cost"]["sizes"].items()}
    plots.bars(rows, "further events per second, by events in the tables", file)
