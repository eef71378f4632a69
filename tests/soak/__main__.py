"""`make soak`: python -m tests.soak."""

import asyncio
import json
import logging
import random
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from tests.soak.old_copy import measure_old_copy
from tests.soak.plan import plan
from tests.soak.run import Run
from tests.soak.sabotage import SABOTAGE
from tests.soak.stage import Stage

_SHORT = 10
"""Minutes up to which a run counts as short: fewer snapshots are checked exactly."""


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0.5), default=60, show_default=True, help="How long faults come.")
@click.option("--seed", type=int, help="Of the plan and the events; repeats a run's plan. [default: a random one]")
@click.option(
    "--rate", type=click.FloatRange(min=1), default=150, show_default=True, help="Events a second, on average."
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the report there, as JSON.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep everything in this folder, which must not exist.")
@click.option("--sabotage", type=click.Choice(sorted(SABOTAGE)), help="Run broken workers, to see the run fail.")
@click.option(
    "--old-copy", type=click.IntRange(min=1), help="Only measure how a Redis heals that is so many events behind."
)
@click.option("--show-plan", is_flag=True, help="Print the plan and end.")
def main(
    minutes: float,
    seed: int | None,
    rate: float,
    json_file: Path | None,
    keep: Path | None,
    sabotage: str | None,
    old_copy: int | None,
    *,
    show_plan: bool,
) -> None:
    """Hurt a real Kafka, a real Redis and three workers in every way, and prove that not one number is wrong."""
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    if show_plan:
        for fault in plan(seed, minutes):
            click.echo(f"{fault.at:8.1f} s  {fault.kind}, {fault.seconds:.1f} s, {fault.amount:.3f}")
        return
    if keep is not None and keep.exists():
        raise click.UsageError(f"{keep} is there already; name a folder that is not")
    folder = Path(tempfile.mkdtemp(prefix="salesfx-soak-")) if keep is None else keep.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=keep is None)
    logging.basicConfig(
        filename=folder / "clients.log", level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s"
    )
    if old_copy is not None:
        status = _old_copy(folder, seed, old_copy, json_file)
        if status == 0 and keep is None:
            shutil.rmtree(folder, ignore_errors=True)
        sys.exit(status)
    run = Run(folder, seed, minutes, rate, SABOTAGE[sabotage] if sabotage else "")
    short = minutes <= _SHORT
    report = asyncio.run(run.run(check_seconds=60 if short else 240, least_exact=20 if short else 60))
    if report.passed and keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        report.folder = str(folder)
    for line in report.lines():
        click.echo(line)
    if json_file is not None:
        report.write(json_file)
    sys.exit(0 if report.passed else 1)


def _old_copy(folder: Path, seed: int, behind: int, json_file: Path | None) -> int:
    measured = asyncio.run(measure_old_copy(Stage(folder, seed), behind))
    click.echo(
        f"Redis was {measured.behind:,} events behind, of {measured.events:,}; right again after {measured.seconds} s"
    )
    for what in measured.differences:
        click.echo(f"DEFECT {what}")
    if json_file is not None:
        json_file.write_text(json.dumps(asdict(measured), indent=1) + "\n", encoding="utf-8")
    return 0 if measured.passed else 1


if __name__ == "__main__":
    main()
