"""`python -m tests.simulation`: lives through seeds until one fails, or for as long as is wanted."""

import json
import sys
import time
from collections import Counter
from itertools import count

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests.simulation.world import Outcome, run_seed, simulating

_LAST_LINES = 400


class Tally:
    """What came of all seeds together."""

    def __init__(self) -> None:
        self.seeds = self.events = self.prefixes = 0
        self.faults: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.longest_healing = 0.0
        self.failures: list[Outcome] = []
        self._began, self._began_to_work = time.monotonic(), time.process_time()

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        self.seeds += 1
        self.events += outcome.events
        self.prefixes += outcome.prefixes
        self.faults.update(outcome.faults)
        self.answers.update(outcome.answers)
        self.longest_healing = max(self.longest_healing, outcome.healing_seconds)
        if outcome.failure is not None:
            self.failures.append(outcome)

    @property
    def per_minute(self) -> float:
        """Tell the rate, in seeds a minute."""
        return 60 * self.seeds / max(time.monotonic() - self._began, 1e-9)

    @property
    def milliseconds(self) -> float:
        """Tell how long the processor worked on a seed."""
        return 1000 * (time.process_time() - self._began_to_work) / max(self.seeds, 1)

    def as_json(self) -> str:
        """Write it for a machine."""
        return json.dumps(
            {
                "seeds": self.seeds,
                "seeds_per_minute": round(self.per_minute),
                "milliseconds_of_processor_a_seed": round(self.milliseconds, 1),
                "events": self.events,
                "commits": dict(self.answers),
                "snapshots_checked": self.prefixes,
                "longest_healing_simulated_seconds": round(self.longest_healing, 1),
                "faults": dict(self.faults.most_common()),
                "failures": {outcome.seed: outcome.failure for outcome in self.failures},
            }
        )


@click.command()
@click.option("--seeds", type=click.IntRange(1), help="How many; without it and without --seconds: 5,000.")
@click.option("--from", "first", type=click.IntRange(0), default=0, show_default=True, help="The first seed.")
@click.option("--seconds", type=click.FloatRange(0), help="Stop after so long.")
@click.option("--trace", is_flag=True, help="Print what happens in the first seed, and live through no other.")
@click.option("--go-on", is_flag=True, help="Do not stop at the first failure.")
@click.option("--json", "as_json", is_flag=True, help="Print the tally as JSON.")
def main(seeds: int | None, first: int, seconds: float | None, trace: bool, go_on: bool, as_json: bool) -> None:
    """Run the worker's own code in simulated worlds, one for each seed."""
    if trace:
        _show(first)
    tally = Tally()
    ends = time.monotonic() + seconds if seconds is not None else float("inf")
    most = seeds if seeds is not None else (5_000 if seconds is None else None)
    _live(tally, first, most, ends, go_on)
    if as_json:
        click.echo(tally.as_json())
    else:
        _report(tally)
    sys.exit(1 if tally.failures else 0)


def _live(tally: Tally, first: int, most: int | None, ends: float, go_on: bool) -> None:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with simulating(), Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("seeds", total=most)
        for seed in count(first) if most is None else range(first, first + most):
            outcome = run_seed(seed)
            tally.add(outcome)
            if outcome.failure is not None:
                progress.console.print(_failed(outcome), highlight=False, markup=False)
            if tally.seeds % 20 == 0:
                said = f"{tally.seeds:,} seeds, {tally.per_minute:,.0f} a minute, {len(tally.failures)} failed"
                progress.update(bar, completed=tally.seeds, description=said)
            if time.monotonic() > ends or (tally.failures and not go_on):
                return


def _report(tally: Tally) -> None:
    answers = ", ".join(f"{number:,} {name}" for name, number in tally.answers.most_common())
    click.echo(
        f"{tally.seeds:,} seeds ({tally.per_minute:,.0f} a minute, {tally.milliseconds:.1f} ms of one processor each), "
        f"{tally.events:,} events, commits: {answers}; "
        f"{tally.prefixes:,} snapshots checked before the ends; longest time to heal: "
        f"{tally.longest_healing:.1f} simulated seconds"
    )
    for kind, number in tally.faults.most_common():
        click.echo(f"{number:>10,}  {kind}")
    for outcome in tally.failures:
        click.echo(_failed(outcome))


def _failed(outcome: Outcome) -> str:
    return (
        f"seed {outcome.seed} FAILED: {outcome.failure}\n"
        f"  to see how: python -m tests.simulation --from {outcome.seed} --trace"
    )


def _show(seed: int) -> None:
    with simulating():
        outcome = run_seed(seed, traced=True)
    left_out = len(outcome.trace) - _LAST_LINES
    if left_out > 0:
        click.echo(f"({left_out} lines before)")
    click.echo("\n".join(outcome.trace[-_LAST_LINES:]))
    click.echo(f"seed {seed}: {outcome.failure or 'all is well'}")
    sys.exit(1 if outcome.failure else 0)


if __name__ == "__main__":
    main()
