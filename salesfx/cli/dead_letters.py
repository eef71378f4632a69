"""`salesfx dead-letters`: events that could not be used, and what becomes of them."""

import heapq
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from zoneinfo import ZoneInfo

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from salesfx.business_time import to_instant
from salesfx.cli.moment import MomentType
from salesfx.dead_letters.box import Box, stored_offsets
from salesfx.dead_letters.content import Judge, UnfaithfulError, content_of
from salesfx.dead_letters.ledger import Ledger, Selection, Status
from salesfx.dead_letters.letter import Letter
from salesfx.dead_letters.replay import Replay, Report, Result, await_fates
from salesfx.dead_letters.shown import (
    history_lines,
    letter_json,
    local_time,
    shown_bytes,
    shown_value,
    summary_json,
    usable_json,
)
from salesfx.errors import SalesfxError
from salesfx.events import TOPICS
from salesfx.kafka_security import quiet_kafka_python
from salesfx.reading.shown import printable
from salesfx.refusal import Reason
from salesfx.rules import Rules
from salesfx.settings import Settings
from salesfx.tables.away import TablesAwayError

_MAX_DETAIL = 200
_LEAST_DETAIL = 30
_NAMED = 20
"""Most letters that are named one by one for people."""
_WAIT_SECONDS = 30.0
_MARKED_TOGETHER = 1000


def _selecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Put the options that describe letters to a command."""
    for option in (
        click.option("--until", type=MomentType(end=True), help="Refused before then; of a date, until its end."),
        click.option(
            "--since", type=MomentType(end=False), help="Refused since: RFC 3339, or a date in the business time zone."
        ),
        click.option("--topic", type=click.Choice(TOPICS), help="Events of this topic."),
        click.option(
            "--reason", type=click.Choice([str(reason) for reason in Reason]), help="Refused for this reason."
        ),
    ):
        command = option(command)
    return command


@click.group("dead-letters", short_help="Events that could not be used: look, replay, drop.")
def dead_letters() -> None:
    """Events that could not be used: why, and what becomes of them.

    A letter's KEY is where its event lies: TOPIC-PARTITION-OFFSET. docs/dead-letters.md has the remedy for each reason.
    """


@dead_letters.command("list")
@_selecting
@click.option(
    "--status",
    type=click.Choice([str(status) for status in Status]),
    help="What became of them; by default those that are open.",
)
@click.option("--all", "every", is_flag=True, help="Whatever became of them.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=50, show_default=True, help="Most letters that are listed."
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def list_(
    settings: Settings, /, *, status: str | None, every: bool, limit: int, as_json: bool, **conditions: Any
) -> None:
    """Count letters by topic and reason, and list the newest."""
    if status and every:
        raise click.UsageError("--status and --all contradict each other")
    statuses = None if every else [Status(status or Status.OPEN)]
    with _opened(settings) as (box, ledger):
        keys = list(ledger.chosen(_selection(settings, conditions), statuses))
        newest = heapq.nlargest(limit, keys, key=lambda key: ledger.letters[key].order)
        letters = {str(letter.origin): letter for letter in box.letters(ledger.letters[key] for key in newest)}
    if as_json:
        _print_json(
            {
                "count": len(keys),
                "not_letters": ledger.not_letters,
                "summary": [
                    {"topic": topic, "reason": reason, "count": count}
                    for (topic, reason), count in ledger.summary(keys).items()
                ],
                "letters": [summary_json(ledger, key, letters.get(key)) for key in newest],
                "left_off": len(keys) - len(newest),
            }
        )
    else:
        _print_list(settings, ledger, keys, newest, letters)


@dead_letters.command()
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="For machines, with the whole value.")
@click.pass_obj
def show(settings: Settings, /, *, key: str, as_json: bool) -> None:
    """Show one letter: the event as it came, what became of it, and whether it would be usable now."""
    with _opened(settings) as (box, ledger):
        _refuse_unknown(ledger, [key])
        letter = next(box.letters([ledger.letters[key]]), None)
        if letter is None:
            raise SalesfxError(f"the letter {key} was deleted from {box.topic} just now")
        try:
            content = content_of(letter, box.original)
        except UnfaithfulError as error:
            usable = {"usable": False, "detail": str(error)}
        else:
            usable = usable_json(letter, content, Judge(Rules(settings.definitions), box.topics))
    if as_json:
        _print_json(letter_json(ledger, letter, usable))
    else:
        _print_letter(settings, ledger, letter, usable)


@dead_letters.command()
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@_selecting
@click.option("--all", "every", is_flag=True, help="All that are open.")
@click.option("--dry-run", is_flag=True, help="Publish nothing; say what would be published.")
@click.option("--even-unusable", is_flag=True, help="Those too that would be refused again.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long to wait for the workers, to tell what became of each. Default: 30 on a terminal, else 0.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def replay(
    settings: Settings,
    /,
    *,
    keys: tuple[str, ...],
    every: bool,
    dry_run: bool,
    even_unusable: bool,
    wait: float | None,
    yes: bool,
    as_json: bool,
    **conditions: Any,
) -> None:
    """Publish the events of letters again, as they were.

    Only open letters are replayed, and only those that would be usable now; a dropped one where its KEY is given.
    Replaying twice changes nothing. Exit status: 0 where all were replayed, 1 where one was not, was refused again, or
    was not taken by a worker within the time.
    """
    started = time.monotonic()
    with _opened(settings) as (box, ledger):
        chosen, skipped = _chosen(settings, ledger, keys, every, conditions, also=[Status.DROPPED])
        _confirm(
            f"Publish the events of {len(chosen):,} letters again, where they would be usable now?",
            chosen,
            yes or dry_run,
        )
        judge = Judge(Rules(settings.definitions), box.topics)
        before = dict(box.ends())
        with _progress("letters", len(chosen)) as advance:
            report = Replay(box, judge, even_unusable=even_unusable, dry_run=dry_run).run(ledger, chosen, advance)
        away = _await(settings, box, report, before, _wait_seconds(wait))
    failed = bool(
        report.counts[Result.NOT_USABLE]
        or report.counts[Result.NOT_POSSIBLE]
        or report.statuses[Status.REFUSED_AGAIN]
        or report.statuses[Status.WAITING]
        or away
    )
    if as_json:
        _print_json(_report_json(report, skipped, dry_run, time.monotonic() - started))
    else:
        _print_report(report, skipped, dry_run)
    if away is not None:
        raise away
    if failed:
        sys.exit(1)


@dead_letters.command()
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@_selecting
@click.option("--all", "every", is_flag=True, help="All that are open.")
@click.option("--note", help="Why; `show` tells it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def drop(
    settings: Settings,
    /,
    *,
    keys: tuple[str, ...],
    every: bool,
    note: str | None,
    yes: bool,
    as_json: bool,
    **conditions: Any,
) -> None:
    """Mark open letters as done with: they stay in the topic, and are not listed as open any more.

    `salesfx dead-letters replay KEY` takes one up again.
    """
    with _opened(settings) as (box, ledger):
        chosen, skipped = _chosen(settings, ledger, keys, every, conditions)
        _confirm(f"Drop {len(chosen):,} letters?", chosen, yes)
        with _progress("letters", len(chosen)) as advance:
            for start in range(0, len(chosen), _MARKED_TOGETHER):
                together = chosen[start : start + _MARKED_TOGETHER]
                for delivery in [box.mark(ledger.letters[key], note=note) for key in together]:
                    box.delivered(delivery)
                advance(len(together))
    if as_json:
        _print_json({"dropped": len(chosen), "skipped": _skipped_json(skipped)})
    else:
        _print_skipped(skipped)
        click.echo(f"{_letters(len(chosen))} dropped")


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Box, Ledger]]:
    """Read the whole topic, after the offsets: a worker writes a letter before it commits."""
    offsets: dict[str, int] | None
    trouble = None
    try:
        offsets = stored_offsets(settings)
    except TablesAwayError as error:
        offsets, trouble = None, error
    with quiet_kafka_python(), Box(settings) as box:
        with _progress("records", None) as advance:
            ledger = box.ledger(advance, advance.begin)
        ledger.offsets = offsets
        if trouble is not None and any(ledger.status(key) is Status.REPLAYED for key in ledger.letters):
            click.echo(f"salesfx: {trouble} Until then it cannot be told what became of replayed letters.", err=True)
        yield box, ledger


class _Advance:
    """Moves a bar."""

    def __init__(self, progress: Progress, total: int | None, unit: str) -> None:
        self._progress = progress
        self._task = progress.add_task(unit, total=total)
        self._count = self._shown = 0

    def begin(self, total: int) -> None:
        """Say how many there are."""
        self._progress.update(self._task, total=total)

    def __call__(self, count: int) -> None:
        self._count += count
        if self._count - self._shown >= 500 or count > 1:  # noqa: PLR2004 - often enough
            self._shown = self._count
            self._progress.update(self._task, completed=self._count)


@contextmanager
def _progress(unit: str, total: int | None) -> Iterator[_Advance]:
    console = Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.completed:,.0f} {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield _Advance(progress, total, unit)


def _selection(settings: Settings, conditions: dict[str, Any]) -> Selection:
    topic = conditions["topic"]
    topics = None if topic is None else frozenset([settings.kafka_topic(topic)])
    since, until = (
        None if moment is None else to_instant(moment) for moment in (conditions["since"], conditions["until"])
    )
    return Selection(reason=conditions["reason"], topics=topics, since=since, until=until)


def _chosen(
    settings: Settings,
    ledger: Ledger,
    keys: Sequence[str],
    every: bool,
    conditions: dict[str, Any],
    also: Sequence[Status] = (),
) -> tuple[list[str], dict[str, Status]]:
    """Give the letters that are meant, and those that are named but not open any more.

    Args:
        settings: In force.
        ledger: With all letters.
        keys: Of letters that are named.
        every: Whether all are meant.
        conditions: That describe letters.
        also: Statuses in which a letter that is named is meant, beside open.

    """
    described = every or any(value is not None for value in conditions.values())
    if bool(keys) == described:
        what = "name letters by KEY or describe them" + (", not both" if keys else ", or say --all")
        raise click.UsageError(what)
    if described:
        return list(ledger.chosen(_selection(settings, conditions), [Status.OPEN])), {}
    _refuse_unknown(ledger, keys)
    statuses = {key: ledger.status(key) for key in keys}
    chosen = [key for key, status in statuses.items() if status is Status.OPEN or status in also]
    return chosen, {key: status for key, status in statuses.items() if key not in chosen}


def _refuse_unknown(ledger: Ledger, keys: Sequence[str]) -> None:
    unknown = [key for key in keys if key not in ledger.letters]
    if unknown:
        raise SalesfxError(
            f"there is no letter {', '.join(printable(key) for key in unknown[:_NAMED])}; "
            "`salesfx dead-letters list --all` names them: TOPIC-PARTITION-OFFSET, the topic with its prefix"
        )


def _confirm(question: str, chosen: Sequence[str], agreed: bool) -> None:
    if len(chosen) > 1 and not agreed and sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)


def _wait_seconds(wait: float | None) -> float:
    if wait is not None:
        return wait
    return _WAIT_SECONDS if sys.stdout.isatty() else 0.0


def _await(settings: Settings, box: Box, report: Report, before: dict[int, int], seconds: float) -> SalesfxError | None:
    """Wait for the workers; give what keeps us from knowing."""
    if not report.places or not seconds:
        return None
    try:
        with _progress("taken by the workers", len(report.places)) as advance:
            await_fates(box, report, before, lambda: stored_offsets(settings), seconds, advance)
    except SalesfxError as error:
        return error
    return None


def _print_json(value: Any) -> None:
    # Bytes: JSON is UTF-8 whatever the terminal is.
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def _report_json(report: Report, skipped: dict[str, Status], dry_run: bool, seconds: float) -> dict[str, Any]:
    total = sum(report.counts.values())
    return {
        "dry_run": dry_run,
        **{str(result): report.counts[result] for result in Result},
        "skipped": _skipped_json(skipped),
        **{str(status): report.statuses[status] for status in (Status.MERGED, Status.REFUSED_AGAIN, Status.WAITING)},
        "seconds": round(seconds, 3),
        "letters": [
            {
                "key": outcome.key,
                "result": outcome.result,
                "detail": outcome.detail,
                "replayed_to": None if outcome.replayed_to is None else str(outcome.replayed_to),
                "status": outcome.status,
            }
            for outcome in report.outcomes.values()
        ],
        "left_off": total - len(report.outcomes),
    }


def _skipped_json(skipped: dict[str, Status]) -> list[dict[str, str]]:
    return [{"key": key, "status": str(status)} for key, status in skipped.items()]


def _print_list(
    settings: Settings, ledger: Ledger, keys: Sequence[str], newest: Sequence[str], letters: dict[str, Letter]
) -> None:
    if keys:
        summary = [(f"{count:,}", topic, reason) for (topic, reason), count in ledger.summary(keys).items()]
        _print_columns([("letters", "topic", "reason"), *summary])
    if newest:
        click.echo()
        zone = ZoneInfo(settings.timezone)
        rows = [_row(ledger, key, letters.get(key), zone) for key in newest]
        _print_columns([("refused", "key", "reason", "status", "detail"), *rows])
    left_off = len(keys) - len(newest)
    if not keys:
        click.echo("no such letters")
    elif left_off and newest:
        click.echo(f"and {left_off:,} older ones; --limit shows more")
    if ledger.not_letters:
        click.echo(f"{ledger.not_letters:,} records of the topic are not letters of salesfx", err=True)


def _row(ledger: Ledger, key: str, letter: Letter | None, zone: ZoneInfo) -> tuple[str, ...]:
    entry = ledger.letters[key]
    detail = "" if letter is None else letter.detail[:_MAX_DETAIL]
    return local_time(entry.when, zone), key, entry.reason, ledger.status(key).replace("_", " "), detail


def _print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns; only the last is cut where the terminal is narrow, since keys are there to be copied."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    before = sum(widths[:-1]) + 2 * (len(widths) - 1)
    console = Console()
    room = max(console.width - before, _LEAST_DETAIL) if console.is_terminal else _MAX_DETAIL
    for row in cells:
        last = row[-1] if len(row[-1]) <= room else row[-1][: room - 1] + "…"
        click.echo("".join(f"{cell:<{width}}  " for cell, width in zip(row[:-1], widths, strict=False)) + last)


def _print_letter(settings: Settings, ledger: Ledger, letter: Letter, usable: dict[str, Any]) -> None:
    key, zone = str(letter.origin), ZoneInfo(settings.timezone)
    answer = {True: "yes", False: "no", None: "perhaps"}[usable["usable"]]
    place = letter.origin
    rows = [
        ("letter", key),
        ("status", ledger.status(key).replace("_", " ")),
        ("reason", printable(letter.reason)),
        ("detail", printable(letter.detail)),
        ("place", f"{place.topic}, partition {place.partition}, offset {place.offset}"),
        ("usable now", answer + (f": {printable(usable['detail'])}" if usable["detail"] else "")),
    ]
    if letter.replay_of is not None:
        rows.append(("replay of", printable(letter.replay_of)))
    rows += [
        ("history", history_lines(ledger, key, zone)[0]),
        *(("", line) for line in history_lines(ledger, key, zone)[1:]),
    ]
    repeats = ledger.letters[key].repeats
    if repeats:
        rows.append(("", f"the letter stands in the topic {repeats} more times"))
    earlier = ledger.earlier_events(key)
    if earlier:
        rows.append(("", f"in a topic that is gone {_events(earlier)} refused at this place too"))
    rows.append(("key", shown_bytes(letter.key)))
    rows += [("header", f"{printable(name)}: {shown_bytes(value)}") for name, value in letter.headers]
    if letter.headers_dropped:
        rows.append(("headers", "not in the letter, because they were too large"))
    size = f"{len(letter.value or b''):,} bytes" + (", only the beginning of it" if letter.truncated else "")
    rows.append(("value", size))
    for name, text in rows:
        click.echo(f"{name:<12}{text}")
    click.echo(shown_value(letter.value))


def _print_report(report: Report, skipped: dict[str, Status], dry_run: bool) -> None:
    _print_skipped(skipped)
    not_done = [outcome for outcome in report.outcomes.values() if outcome.detail is not None]
    for outcome in not_done[:_NAMED]:
        what = "refused again" if outcome.result is Result.REPLAYED else "not replayed"
        click.echo(f"{outcome.key}: {what}: {printable(outcome.detail or '')}")
    if len(not_done) > _NAMED:
        click.echo("and more; by reason:")
        for reason, count in Counter(_by_reason(report)).most_common():
            click.echo(f"  {count:>9,}  {reason}")
    counts = report.counts
    click.echo(f"{_letters(counts[Result.REPLAYED])} {'would be ' if dry_run else ''}replayed")
    if counts[Result.NOT_USABLE]:
        click.echo(
            f"{_letters(counts[Result.NOT_USABLE])} not replayed, because they would be refused again "
            "(--even-unusable replays them too)"
        )
    if counts[Result.NOT_POSSIBLE]:
        click.echo(f"{_letters(counts[Result.NOT_POSSIBLE])} cannot be replayed")
    _print_fates(report, dry_run)


def _print_fates(report: Report, dry_run: bool) -> None:
    if report.statuses:
        for status in (Status.MERGED, Status.REFUSED_AGAIN, Status.WAITING):
            if report.statuses[status]:
                more = ". Does a worker run? `salesfx doctor` tells." if status is Status.WAITING else ""
                click.echo(f"{report.statuses[status]:>9,}  {_FATES[status]}{more}")
    elif report.places and not dry_run:
        click.echo("`salesfx dead-letters list --all` tells what becomes of them.")


_FATES = {
    Status.MERGED: "merged",
    Status.REFUSED_AGAIN: "refused again",
    Status.WAITING: "still waiting for a worker",
}


def _by_reason(report: Report) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for detail, count in report.details.items():
        counts[printable(detail.split(":", 1)[0])] += count
    return counts


def _print_skipped(skipped: dict[str, Status]) -> None:
    for key, status in list(skipped.items())[:_NAMED]:
        click.echo(f"{key}: skipped, because it is {status.replace('_', ' ')}, not open")
    if len(skipped) > _NAMED:
        click.echo(f"and {len(skipped) - _NAMED:,} more skipped")


def _letters(count: int) -> str:
    return f"{count:,} letter" + ("" if count == 1 else "s")


def _events(count: int) -> str:
    return "another event was" if count == 1 else f"{count:,} other events were"
