"""A withdrawal of personal data: the tables made anew with tokens, proved to be the same otherwise, and swapped."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from salesfx.decoder import normalise_id, normalise_name
from salesfx.errors import NeedsAttentionError, SalesfxError
from salesfx.forgotten import MOST_ENTRIES, TOKEN_PREFIX, Forgotten, Kind
from salesfx.forgotten_file import pending, read_forgotten, write_forgotten
from salesfx.kpi import UNASSIGNED
from salesfx.lead import ACCOUNT, DEAL, HOMES, QUOTE
from salesfx.rebuilding.rebuild import Found, Rebuild, Shower, find, rebuilding
from salesfx.rebuilding.renaming import Mentioned, Mentions, Trace, holds, traces, unequal
from salesfx.rebuilding.steps import decoded, monthly
from salesfx.refusal import Refused
from salesfx.settings import Settings
from salesfx.tables import RedisTables, Snapshot, TablesGoneError
from salesfx.tables.layout import MONTH, to_cells

MOST_VALUES = 1000
MOST_TRACES = 1000
_DRAWS = 4


class WithdrawalError(NeedsAttentionError):
    """Nothing was withdrawn, and somebody has to decide something."""


class NotTheSameError(SalesfxError):
    """The tables with tokens are not the same otherwise."""


class Plan(msgspec.Struct, frozen=True):
    """What is to be done."""

    kind: Kind
    values: list[str]
    list_now: Forgotten
    """With them."""
    mentions: dict[str, Mentions]
    similar: dict[str, int]
    leads_of: list[str]
    """Of accounts: their leads, which stay as they are."""
    before: list[str]
    """Of the values, those that are in the list already."""
    shown: int
    """How many entries of the list the tables that are shown are made under."""
    is_done: bool
    """Whether the tables that are shown are made under this list already."""


class Done(msgspec.Struct, frozen=True):
    """What was done."""

    generation: str
    """Number of the one that is shown now."""
    dropped: list[str]
    tokens: list[str]
    """In the order of the values."""
    traces: list[Trace]
    """Texts of the tables that still hold a value: ids, a need, or another spelling; at most `MOST_TRACES`."""


class Withdrawal:
    """One call of `salesfx forget`."""

    def __init__(self, settings: Settings, tables: RedisTables, show: Shower) -> None:
        """Make one.

        Raises:
            WithdrawalError: The settings name no file for the list.

        """
        if not settings.forgotten_file:
            raise WithdrawalError(
                "the settings name no file for the list of what is withdrawn. Set `forgotten_file` in salesfx.toml, or "
                'SALESFX_FORGOTTEN_FILE, like "/etc/salesfx/forgotten.json", here and for every worker and server; then again'
            )
        self._settings = settings
        self._path = Path(settings.forgotten_file).resolve()
        self._tables = tables
        self._show = show

    async def plan(self, kind: Kind, written: Sequence[str]) -> Plan:
        """Look what there is; changes nothing.

        Raises:
            WithdrawalError: A value cannot be withdrawn, or the tables are made under other settings.

        """
        values = list(dict.fromkeys(_usable(kind, each) for each in written))
        found = await find(self._tables, self._settings)
        self._check_settings(found)
        ours, theirs = self._settings.forgotten, decoded(found.live.definitions).forgotten.stored.count
        now = ours.with_values(kind, values, read_forgotten(pending(self._path)))
        unfinished = {entry.token for entry in ours.entries[theirs:]}
        if not unfinished <= {now.token_of(kind, value) for value in values}:
            raise WithdrawalError(
                "another withdrawal was interrupted just before its end, and is to be finished before: call it again with the "
                "same names or ids, or run `salesfx rebuild`"
            )
        if len(now.entries) > MOST_ENTRIES:
            raise WithdrawalError(f"more than {MOST_ENTRIES:,} names and ids cannot be withdrawn")
        mentioned = Mentioned(kind, values)
        async with self._tables.view((), found.live.number) as view:
            if view is None:
                raise TablesGoneError("the tables are gone from Redis")
            for home in HOMES:
                async for chunk in view.scan(home):
                    for ref, content in chunk.items():
                        mentioned.add(ref, content)
        return Plan(
            kind,
            values,
            now,
            mentioned.of,
            dict(mentioned.similar),
            list(mentioned.leads_of),
            [value for value in values if ours.token_of(kind, value) is not None],
            theirs,
            theirs == len(now.entries),
        )

    def _check_settings(self, found: Found) -> None:
        """Refuse where more has changed than the list."""
        theirs, ours = decoded(found.live.definitions), self._settings.definitions
        if msgspec.structs.replace(theirs, forgotten=ours.forgotten).fingerprint != ours.fingerprint:
            raise WithdrawalError(
                "other settings have changed since the tables were made, so it could not be proved that no total changes: "
                f"{'; '.join(found.changed)}. Put them back, or run `salesfx rebuild` before; where rates were only added, "
                "start a worker before"
            )

    async def carry_out(self, plan: Plan) -> Done:
        """Do it; where it is interrupted, it can be done again.

        Raises:
            NotTheSameError: A number would change; nothing was swapped.
            SalesfxError: As a rebuild.

        """
        now = plan.list_now
        left: list[Trace] = []
        if not plan.is_done:
            for draw in range(1, _DRAWS + 1):
                write_forgotten(pending(self._path), now)
                made, differ, left = await self._made(plan, now)
                if not differ:
                    break
                await self._tables.generations.drop(made)
                if draw == _DRAWS:
                    pending(self._path).unlink()
                    raise NotTheSameError(_in_words(differ))
                self._show.say("two versions of an event tie, and the tokens would decide otherwise; drawing others")
                now = now.redrawn(plan.shown)
        shown, dropped = await self._drop_others()
        with suppress(FileNotFoundError):
            pending(self._path).unlink()
        return Done(shown, dropped, _tokens(plan, now), left)

    async def _made(self, plan: Plan, now: Forgotten) -> tuple[str, list[str], list[Trace]]:
        """Make the tables with tokens; show them where nothing differs but names."""
        settings = msgspec.structs.replace(self._settings, forgotten=now)
        found = await find(self._tables, settings)
        names = {
            value: token
            for value, token in zip(plan.values, _tokens(plan, now), strict=True)
            if plan.kind is Kind.SALESPERSON
        }
        async with rebuilding(settings, self._tables, found.live, self._show) as making:
            await making.catch_up()
            live, new = await making.side_by_side()
            differ = _unequal(live, new, names)
            if differ:
                return making.new, differ, []
            left = await self._traces(making, new, plan.values)
            self._write(now)
            await making.swap()
            return making.new, [], left

    def _write(self, now: Forgotten) -> None:
        """Put the list in force, unless somebody else has changed it meanwhile."""
        before = read_forgotten(self._path) or Forgotten()
        if before.stored != self._settings.forgotten.stored:
            raise WithdrawalError(
                f"the list in {self._path} was changed meanwhile, by another `salesfx forget`; nothing was swapped. Do this one again"
            )
        write_forgotten(self._path, now)

    async def _traces(self, making: Rebuild, new: Snapshot, values: list[str]) -> list[Trace]:
        """Look for the values in all that is stored."""
        left = [
            Trace(name, field[:100])
            for name, table in new.tables.items()
            for field in table
            if any(holds(field, value) for value in values)
        ]
        async with self._tables.view((), making.new) as view:
            if view is None:
                raise TablesGoneError(f"generation {making.new} is gone from Redis")
            for kind in (*HOMES, QUOTE, DEAL, ACCOUNT):
                async for chunk in view.scan(kind):
                    for ref, content in chunk.items():
                        if len(left) < MOST_TRACES:
                            left += traces(ref, content, values)
        return left[:MOST_TRACES]

    async def _drop_others(self) -> tuple[str, list[str]]:
        """Delete all generations but the one that is shown: they have the names."""
        shown, dropped = "", []
        for each in await self._tables.generations.all():
            if each.shown:
                shown = each.number
            else:
                await self._tables.generations.drop(each.number)
                dropped.append(each.number)
        return shown, dropped


def _usable(kind: Kind, written: str) -> str:
    """Give a value as it stands in events."""
    try:
        value = (
            normalise_name(written, "salesperson") if kind is Kind.SALESPERSON else normalise_id(written, f"{kind}_id")
        )
    except Refused as refused:
        raise WithdrawalError(f"no event can have {written!r}: {refused.detail}") from None
    if value is None:
        raise WithdrawalError(f"{kind}: is blank")
    if kind is Kind.SALESPERSON and value == UNASSIGNED:
        raise WithdrawalError(f"{UNASSIGNED} is nobody's name: it stands for events without a salesperson")
    if value.startswith(TOKEN_PREFIX):
        raise WithdrawalError(f"{value} is a token itself: what it stands for is withdrawn")
    return value


def _tokens(plan: Plan, now: Forgotten) -> list[str]:
    return [now.token_of(plan.kind, value) or "" for value in plan.values]


def _unequal(live: Snapshot, new: Snapshot, names: dict[str, str]) -> list[str]:
    """Compare all tables: totals, days and hours."""
    totals = [monthly((n, t) for n, t in each.tables.items() if n.startswith(MONTH)) for each in (live, new)]
    cells = [to_cells(each.tables.items()) for each in (live, new)]
    return unequal(totals[0], totals[1], names) + unequal(cells[0], cells[1], names)


def _in_words(differ: list[str]) -> str:
    return (
        f"nothing was withdrawn: {len(differ)} numbers would change, among them {', '.join(differ[:3])}. Either the tables do not "
        "agree with the log (`salesfx audit --from-log` tells), or two versions of one entity have the same revision, "
        "recorded_at and event_id, and their contents decide which stands; publish it once more with a greater revision"
    )
