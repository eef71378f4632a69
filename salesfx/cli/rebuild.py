"""`salesfx rebuild`: the tables made anew under other settings, compared, and put in the place of the old ones."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click
import msgspec
from redis.exceptions import RedisError
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from salesfx.definitions import withdraws_more
from salesfx.errors import NeedsAttentionError, SalesfxError
from salesfx.kafka_security import quiet_kafka_python
from salesfx.rebuilding.differences import Difference, Parts
from salesfx.rebuilding.rebuild import Found, Rebuild, Report, find, rebuilding
from salesfx.settings import Settings
from salesfx.tables import RedisTables, tables_of
from salesfx.tables.away import redis_away
from streams.collector import spare_collector

_SHOWN = 60
"""Most rows that people are shown."""
_WAKES_SECONDS = 0.5
_STAGES = {"log": "events into the new tables", "records": "records compared"}


class Answer(msgspec.Struct, frozen=True):
    """What `--json` says."""

    needed: bool
    """Whether anything has changed that needs a rebuild; without it there is no report, unless `--anyway` was given."""
    shown: str
    """Number of the generation that is shown now."""
    swapped: bool
    report: Report | None


@click.command(short_help="Make the tables anew under changed settings, and swap.")
@click.option("--yes", is_flag=True, help="Show the new tables without asking.")
@click.option("--follow", is_flag=True, help="After the swap keep the new tables up to date until a worker does.")
@click.option("--anyway", is_flag=True, help="Also where no setting has changed: the tables may be damaged.")
@click.option("--json", "as_json", is_flag=True, help="For machines: see docs/rebuild.md. Asks nothing.")
@click.pass_obj
def rebuild(settings: Settings, *, yes: bool, follow: bool, anyway: bool, as_json: bool) -> None:
    """Make the tables anew from the log, under the settings in force, beside those that are shown.

    Those go on being served and updated meanwhile. Then it shows what differs by month and KPI, and which setting did it,
    and puts the new ones in their place, at once and as a whole. The old ones stay until `salesfx generations drop`. What
    was interrupted goes on where it was.
    """
    spare_collector()
    choices = _Choices(yes, follow, anyway, as_json)
    try:
        with quiet_kafka_python(), shower() as show:
            asyncio.run(_rebuild(settings, show, choices))
    except KeyboardInterrupt:
        raise SalesfxError(
            f"stopped. What was made of the new tables is kept: `{choices.again}` goes on with it, `salesfx generations` lists it"
        ) from None
    except RedisError as error:
        raise redis_away(settings.redis, error) from error


class _Choices(msgspec.Struct, frozen=True):
    yes: bool
    follow: bool
    anyway: bool
    as_json: bool

    @property
    def again(self) -> str:
        """The command that goes on."""
        return "salesfx rebuild --anyway" if self.anyway else "salesfx rebuild"


async def _rebuild(settings: Settings, show: "Shower", choices: _Choices) -> None:
    tables = tables_of(settings)
    try:
        await tables.check()
        found = await find(tables, settings)
        if not choices.anyway and (not found.changed or found.only_rates):
            _say_nothing_to_do(found, choices)
            return
        for change in found.changed:
            show.say(f"changed: {change}")
        await _make(settings, tables, found, show, choices)
    finally:
        await tables.close()


def _say_nothing_to_do(found: Found, choices: _Choices) -> None:
    if choices.as_json:
        _print_json(Answer(needed=False, shown=found.live.number, swapped=False, report=None))
    elif found.only_rates:
        click.echo("only rates of currencies that had none were added: the next start of the workers takes them up.")
    else:
        click.echo(
            f"nothing to do: generation {found.live.number}, which is shown, is made under the settings in force. --anyway "
            "makes the tables anew all the same."
        )


async def _make(settings: Settings, tables: RedisTables, found: Found, show: "Shower", choices: _Choices) -> None:
    async with rebuilding(settings, tables, found.live, show, anyway=choices.anyway) as making:
        await making.catch_up()
        report = await making.compare()
        show.rest()
        if not choices.as_json:
            _print(report)
        swap = choices.yes or (not choices.as_json and await _asked_while_following(making, report, choices.again))
        if swap:
            await making.swap()
        if choices.as_json:
            _print_json(Answer(True, making.new if swap else found.live.number, swap, report))
        elif swap:
            _print_swapped(report, names=withdraws_more(found.live.definitions, settings.definitions))
        if swap and choices.follow:
            show.say("keeping them up to date until a worker does, or Ctrl-C")
            with suppress(asyncio.CancelledError):
                await making.follow_log()
                show.say("a worker has taken over")
        show.rest()


async def _asked_while_following(making: Rebuild, report: Report, again: str) -> bool:
    """Ask whether to swap; the new tables follow the live ones meanwhile."""
    if not sys.stdin.isatty():
        raise NeedsAttentionError(
            f"nothing was swapped: there is nobody to ask, and --yes was not given. Generation {report.new} is complete and "
            f"kept; `salesfx generations show {report.new}` shows it, `{again} --yes` brings it up to date before."
        )
    following = asyncio.create_task(making.follow())
    asking = asyncio.create_task(line(f"Show generation {report.new} from now on, instead of {report.live}? [y/N] "))
    try:
        await asyncio.wait((following, asking), return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            following.result()
        if (await asking).strip().lower() in {"y", "yes"}:
            return True
    finally:
        for task in (following, asking):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    click.echo(
        f"nothing was swapped. Generation {report.new} is kept: `{again}` brings it up to date and asks again, "
        f"`salesfx generations drop {report.new}` deletes it."
    )
    return False


async def line(question: str) -> str:
    """Ask for a line without holding anything up."""
    click.echo(question, nl=False)
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def read() -> None:
        if not answer.done():
            answer.set_result(sys.stdin.readline())

    loop.add_reader(sys.stdin, read)
    try:
        # Ctrl-C just before the loop goes to sleep is seen when it wakes up: nothing else would wake it.
        while not answer.done():
            await asyncio.wait({answer}, timeout=_WAKES_SECONDS)
        return answer.result()
    finally:
        loop.remove_reader(sys.stdin)


def _print_swapped(report: Report, *, names: bool) -> None:
    """Tell what is to be done next; `names`: whether the old ones name what the new ones do not any more."""
    back = (
        f"Generation {report.live} names what is withdrawn. Delete it: salesfx forget --again"
        if names
        else f"  back:   salesfx generations show {report.live}\n  delete: salesfx generations drop {report.live}"
    )
    click.echo(
        f"generation {report.new} is shown now, instead of {report.live}. Start the workers with these settings: nothing is added "
        "to it before one runs. Servers that run go over to it by themselves; give them these settings before they are started "
        f"again.\nWorkers with the old settings keep generation {report.live} up to date while they run; they may be stopped.\n"
        f"{back}"
    )


def _print_json(answer: Answer) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2))


def _print(report: Report) -> None:
    for cell, content in report.damaged.items():
        click.echo(f"not compared, since it is no number in generation {report.live}: {cell}: {content!r}")
    lag = f" (they are {report.behind:,} events apart)" if report.behind else ""
    if not report.differences:
        click.echo(f"generation {report.new} and generation {report.live} hold the same numbers{lag}.")
        return
    names = [*report.steps, *([report.rest] if _has_rest(report) else [])]
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for heading in ("Month", "KPI"):
        table.add_column(heading, no_wrap=True)
    for heading in (f"now ({report.live})", f"then ({report.new})", "difference", *names):
        table.add_column(heading, justify="right")
    for each in report.differences[-_SHOWN:]:
        table.add_row(each.month, each.metric.replace("_", " "), *_row(each, names))
    click.echo(f"what differs between generation {report.live} and generation {report.new}{lag}:")
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    if more := len(report.differences) - _SHOWN:
        click.echo(f"{more:,} earlier rows are left out; --json lists all" if more > 0 else "", nl=more > 0)
    if report.currencies[0] != report.currencies[1]:
        click.echo("values are in {} now, and in {} then".format(*report.currencies))
    if report.rest in names:
        click.echo(f"{report.rest}: what no change of a setting explains; docs/rebuild.md says what that can be")


def _has_rest(report: Report) -> bool:
    parts = (part for each in report.differences for part in (each.total, *each.by_label.values()))
    return any(report.rest in part.by for part in parts)


def _row(each: Difference, names: list[str]) -> list[Text]:
    total: Parts = each.total
    cells = [str(total.live), str(total.new), _signed(total.difference)]
    if not total.differs:
        cells[2] = f"0 ({each.cells} parts differ)"
    return [Text(cell) for cell in (*cells, *(_signed(total.by.get(name, "")) for name in names))]


def _signed(number: object) -> str:
    text = str(number)
    return text if not text or text.startswith("-") or not text.strip("0.") else f"+{text}"


class Shower:
    """Shows on a terminal how far it is, and says what is going on; see `salesfx.rebuilding.rebuild.Shower`."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._totals: dict[str, int] = {}

    def total(self, stage: str, number: int) -> None:
        """Note how much there is to be done more."""
        self._totals[stage] = self._totals.get(stage, 0) + number
        self._progress.update(self._task(stage), total=self._totals[stage])

    def advance(self, stage: str, number: int) -> None:
        """Note what was done."""
        self._progress.advance(self._task(stage), number)

    def say(self, sentence: str) -> None:
        """Tell what is going on."""
        self.rest()
        click.echo(sentence, err=True)

    def rest(self) -> None:
        """Take the bars away, so that other things can be read and written; the next event brings new ones."""
        for task in self._tasks.values():
            self._progress.remove_task(task)
        self._progress.refresh()
        self._tasks.clear()
        self._totals.clear()

    def _task(self, stage: str) -> TaskID:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(_STAGES[stage], total=None)
        return self._tasks[stage]


class _Rate(ProgressColumn):
    """Events per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


@contextmanager
def shower() -> Iterator[Shower]:
    """Show on a terminal how far it is, while this is open."""
    console = Console(stderr=True)
    columns: tuple[Any, ...] = (
        TextColumn("{task.completed:>12,.0f} {task.description}"),
        BarColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield Shower(progress)
