"""`make mutants`: plant each bug in a copy of the source tree, and tell which test caught it."""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tests.mutants.bug import Bug
from tests.mutants.catalogue import BUGS
from tests.mutants.planting import ROOT, Nursery, Run, Verdict, judge

_MOST_JOBS = 4
"""Tests start servers of their own, which want memory."""


@click.command()
@click.argument("names", nargs=-1)
@click.option(
    "--list", "listed", is_flag=True, help="Name the bugs and what each would do to the user, and plant none."
)
@click.option("--jobs", type=click.IntRange(1), help="Test runs at a time; default: one a core, at most 4.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the table there too.")
@click.option("--keep", is_flag=True, help="Keep the planted copies with pytest's output, and say where they are.")
def main(*, names: tuple[str, ...], listed: bool, jobs: int | None, json_file: Path | None, keep: bool) -> None:
    """Plant bugs, one in each copy of the source tree, and run the tests that should notice them.

    NAMES are those of bugs, or parts of such names; without any, all are planted. The exit status is 1 where one survives.
    """
    bugs = _chosen(names)
    if listed:
        for bug in bugs:
            click.echo(f"{bug.name}: {bug.harm} ({bug.file}:{bug.line((ROOT / bug.file).read_text(encoding='utf-8'))})")
        return
    began = time.monotonic()
    with Nursery(keep=keep) as nursery:
        baseline, verdicts = _judged(nursery, bugs, jobs or min(os.cpu_count() or 1, _MOST_JOBS))
        seconds = time.monotonic() - began
        _show(verdicts, baseline, seconds)
        if keep:
            click.echo(f"the copies are in {nursery.folder}")
    if json_file is not None:
        json_file.write_text(json.dumps(_as_json(verdicts, seconds), indent=2) + "\n", encoding="utf-8")
    if not all(verdict.caught for verdict in verdicts):
        sys.exit(1)


def _chosen(names: Sequence[str]) -> list[Bug]:
    unknown = [name for name in names if not any(name in bug.name for bug in BUGS)]
    if unknown:
        raise click.UsageError(f"there is no bug called {', '.join(unknown)}; --list names them all")
    return [bug for bug in BUGS if not names or any(name in bug.name for name in names)]


def _judged(nursery: Nursery, bugs: Sequence[Bug], jobs: int) -> tuple[Run, list[Verdict]]:
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    with progress:
        task = progress.add_task("planting", total=len(bugs))

        def note(bug: Bug, run: Run) -> None:
            if not run.failed:
                progress.console.print(Text(f"{bug.name}: {run.trouble or 'its tests pass'}", style="red"))
            progress.advance(task)

        return judge(nursery, bugs, jobs, note)


def _show(verdicts: Sequence[Verdict], baseline: Run, seconds: float) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=240)  # for a file or a pipe: no line is to be broken
    table = Table("bug", "where", "caught by", "s", header_style="bold")
    table.columns[-1].justify = "right"
    for verdict in verdicts:
        bug = verdict.bug
        caught_by = verdict.caught_by.test if verdict.caught_by else ""
        said = Text(caught_by) if verdict.caught else Text(f"SURVIVES: {verdict.why_not}", style="bold red")
        table.add_row(Text(bug.name), Text(f"{bug.file}:{verdict.line}"), said, f"{verdict.seconds:.0f}")
    console.print(table)
    failed = ", ".join(failure.test for failure in baseline.failed) or baseline.trouble or "none"
    console.print(
        Text(
            f"{sum(verdict.caught for verdict in verdicts)} of {len(verdicts)} planted bugs were caught, in {seconds:.0f} s. "
            f"Without a bug {len(baseline.passed)} of their tests pass; failing: {failed}."
        )
    )


def _as_json(verdicts: Sequence[Verdict], seconds: float) -> dict[str, Any]:
    return {
        "bugs": [
            {
                "name": verdict.bug.name,
                "harm": verdict.bug.harm,
                "file": verdict.bug.file,
                "line": verdict.line,
                "caught": verdict.caught,
                "caught_by": verdict.caught_by.test if verdict.caught_by else None,
                "said": verdict.caught_by.said if verdict.caught_by else None,
                "why_not": verdict.why_not or None,
                "seconds": round(verdict.seconds, 1),
            }
            for verdict in verdicts
        ],
        "caught": sum(verdict.caught for verdict in verdicts),
        "planted": len(verdicts),
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
