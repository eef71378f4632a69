"""`salesfx forget`: personal data withdrawn from the records, the tables and the labels."""

import asyncio
import sys

import click
import msgspec
from redis.exceptions import RedisError

from salesfx.cli.rebuild import Shower, line, shower
from salesfx.errors import SalesfxError
from salesfx.forgotten import Kind
from salesfx.kafka_security import quiet_kafka_python
from salesfx.rebuilding.renaming import Trace
from salesfx.rebuilding.withdrawal import MOST_VALUES, Done, Plan, Withdrawal, WithdrawalError
from salesfx.settings import Settings
from salesfx.tables import tables_of
from salesfx.tables.away import redis_away
from streams.collector import spare_collector

_SHOWN = 10
REMAINS = (
    "Kafka's log: the events themselves, until they are older than the topics' retention, or the log is written anew",
    "the archive of the log (`salesfx archive`), and its copies",
    "dead letters, which are copies of events; also of such as still come",
    "Redis' append-only file and snapshots on disk, until it writes them anew (BGREWRITEAOF, BGSAVE), and their backups",
    "Redis' slow log (SLOWLOG RESET), and the history of the shell that this was typed into",
    "Prometheus, under the old labels, until its retention ends",
    "reports that were sent or saved, logs, targets and other settings that name people, and the CRM itself",
)
"""What a withdrawal does not reach; docs/forget.md says what to do about each."""


class Forgot(msgspec.Struct, frozen=True):
    """One value, without it."""

    token: str
    leads: int
    """That named it, by the records."""
    quotes: int
    deals: int


class Answer(msgspec.Struct, frozen=True):
    """What `--json` says."""

    kind: Kind | None
    """Null with --again."""
    forgotten: list[Forgot]
    """In the order of the arguments."""
    generation: str
    """Number of the one that is shown now."""
    dropped: list[str]
    traces: list[Trace]
    """What still holds a value: the record, and the text."""
    remains: list[str]
    """What was not touched."""


@click.command(short_help="Withdraw a person's name or id from the tables.")
@click.argument("kind", type=click.Choice([str(kind) for kind in Kind]), required=False)
@click.argument("values", metavar="ID...", nargs=-1)
@click.option("--again", is_flag=True, help="What is withdrawn already, out of tables that name it: no KIND, no ID.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--anyway", is_flag=True, help="Also where nothing names it yet.")
@click.option("--json", "as_json", is_flag=True, help="For machines: see docs/forget.md. Needs --yes.")
@click.pass_obj
def forget(
    settings: Settings,
    *,
    kind: str | None,
    values: tuple[str, ...],
    again: bool,
    yes: bool,
    anyway: bool,
    as_json: bool,
) -> None:
    """Replace names or ids by random tokens in the records, the tables and the labels, also in events that still come.

    The tables are made anew from the log; they are shown only where no number differs, and the old ones are deleted. What
    was interrupted goes on when it is called again. It cannot be undone. Kafka's log is not touched: docs/forget.md.
    """
    _check_arguments(kind, values, again=again)
    if not yes and (as_json or not sys.stdin.isatty()):
        raise WithdrawalError("nothing was withdrawn: there is nobody to ask, and --yes was not given")
    spare_collector()
    choices = _Choices(None if kind is None else Kind(kind), values, yes, anyway)
    try:
        with quiet_kafka_python(), shower() as show:
            plan, done = asyncio.run(_forget(settings, show, choices))
    except KeyboardInterrupt:
        raise SalesfxError("stopped. The same command again goes on with it.") from None
    except RedisError as error:
        raise redis_away(settings.redis, error) from error
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(_answer(plan, done)), indent=2))
    else:
        _print(settings, plan, done)


def _check_arguments(kind: str | None, values: tuple[str, ...], *, again: bool) -> None:
    if again != (kind is None):
        raise click.UsageError("Say what to withdraw, by KIND and ID...; or --again, without them.")
    if kind is not None and not values:
        raise click.UsageError("Missing argument 'ID...'.")
    if len(values) > MOST_VALUES:
        raise WithdrawalError(f"these are {len(values)} ids; at most {MOST_VALUES} go at once")


class _Choices(msgspec.Struct, frozen=True):
    kind: Kind | None
    values: tuple[str, ...]
    yes: bool
    anyway: bool


async def _forget(settings: Settings, show: Shower, choices: _Choices) -> tuple[Plan, Done]:
    tables = tables_of(settings)
    try:
        await tables.check()
        withdrawal = Withdrawal(settings, tables, show)
        try:
            plan = await _agreed(withdrawal, show, choices)
        except asyncio.CancelledError:
            raise SalesfxError("stopped. Nothing was begun.") from None
        done = await withdrawal.carry_out(plan)
        show.rest()
        return plan, done
    finally:
        await tables.close()


async def _agreed(withdrawal: Withdrawal, show: Shower, choices: _Choices) -> Plan:
    """Look what there is, tell it, and ask."""
    plan = await withdrawal.plan(choices.kind, choices.values)
    _check(plan, anyway=choices.anyway)
    for sentence in _found(plan):
        show.say(sentence)
    if not choices.yes:
        answer = await line("Withdraw this for ever, and delete all other generations of the tables? [y/N] ")
        if answer.strip().lower() not in {"y", "yes"}:
            raise click.Abort
    return plan


def _check(plan: Plan, *, anyway: bool) -> None:
    """Refuse what is probably misspelt."""
    unknown = [value for value, each in plan.mentions.items() if not each.total and value not in plan.before]
    if unknown and not anyway:
        similar = f" There is: {', '.join(map(repr, plan.similar))}." if plan.similar else ""
        raise WithdrawalError(
            f"nothing in the tables names the {plan.kind} {', '.join(map(repr, unknown))}, so nothing was withdrawn.{similar} Write it as "
            "it stands in the events; --anyway withdraws it for events that may still come."
        )


def _found(plan: Plan) -> list[str]:
    lines = []
    if plan.unfinished > len(plan.values) - len(plan.before):
        lines.append(
            f"the tables that are shown are made under all but {plan.unfinished:,} entries of the list; these go too"
        )
    lines += [
        f"{plan.kind} {value!r}: {each.leads:,} leads, {each.quotes:,} quotes, {each.deals:,} deals"
        for value, each in plan.mentions.items()
    ]
    if plan.similar:
        similar = ", ".join(f"{name!r} ({number:,})" for name, number in plan.similar.items())
        lines.append(f"written nearly so, and not withdrawn: {similar}")
    if plan.leads_of:
        shown = " ".join(plan.leads_of[:_SHOWN])
        lines.append(
            f"its leads keep their ids and what their quotes say is needed ({len(plan.leads_of):,}: {shown}"
            f"{' ...' if len(plan.leads_of) > _SHOWN else ''}); `salesfx forget lead` withdraws them"
        )
    return lines


def _answer(plan: Plan, done: Done) -> Answer:
    told = [
        Forgot(token, each.leads, each.quotes, each.deals)
        for token, each in zip(done.tokens, plan.mentions.values(), strict=True)
    ]
    return Answer(plan.kind, told, done.generation, done.dropped, done.traces, list(REMAINS))


def _print(settings: Settings, plan: Plan, done: Done) -> None:
    tokens = f"; in its place: {', '.join(done.tokens)}" if plan.kind is not None else ""
    click.echo(f"withdrawn{tokens}. No number has changed.")
    dropped = f"; deleted: {', '.join(done.dropped)}" if done.dropped else ""
    click.echo(f"generation {done.generation} is shown{dropped}.")
    for trace in done.traces[:_SHOWN]:
        click.echo(f"  still holds it: {trace.where}: {trace.text!r}")
    if done.traces:
        click.echo(
            f"{len(done.traces):,} texts still hold it: ids of something else, a need, or another spelling. docs/forget.md says what to do."
        )
    click.echo(
        f"Every worker and server needs the list in {settings.forgotten_file} now, before it is started again; workers with "
        "the former one end. Keep a copy: without it nothing can be added to the tables.\nThe name is still in:"
    )
    for each in REMAINS:
        click.echo(f"  {each}")
