"""A withdrawal of personal data: the tables made anew with tokens, proved to be the same otherwise, and swapped."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from salesfx.decoder import normalise_id, normalise_name
from salesfx.definitions import same_but_for_the_list
from salesfx.errors import NeedsAttentionError, SalesfxError
from salesfx.forgotten import MOST_ENTRIES, TOKEN_PREFIX, Forgotten, Kind
from salesfx.forgotten_file import pending, read_forgotten, remove_pending, write_forgotten
from salesfx.kpi import UNASSIGNED
from salesfx.lead import ACCOUNT, DEAL, HOMES, QUOTE
from salesfx.reading.reader import with_views
from salesfx.rebuilding.forgotten_list import check_readers, held
from salesfx.rebuilding.rebuild import Found, Shower, find, rebuilding
from salesfx.rebuilding.refused_then import usable_by_now
from salesfx.rebuilding.renaming import Mentioned, Mentions, Trace, Traces, people_withdrawn, same_cells, unequal
from salesfx.rebuilding.steps import decoded, monthly
from salesfx.refusal import Refused
from salesfx.settings import Settings
from salesfx.tables import RedisTables, Snapshot, TablesGoneError
from salesfx.tables.layout import MONTH, to_cells
from salesfx.tables.store import View

MOST_VALUES = 1000
_DRAWS = 4
_Read = TypeVar("_Read")


class WithdrawalError(NeedsAttentionError):
    """Nothing was withdrawn, and somebody has to decide something."""


class NotTheSameError(SalesfxError):
    """The tables with tokens are not the same otherwise."""


class Plan(msgspec.Struct, frozen=True):
    """What is to be done."""

    kind: Kind | None
    """None: nothing further; what is in the list is to be withdrawn from tables that name it again."""
    values: list[str]
    list_now: Forgotten
    """With them."""
    mentions: dict[str, Mentions]
    similar: dict[str, int]
    leads_of: list[str]
    """Of accounts: their leads, which stay as they are."""
    before: list[str]
    """Of the values, those that are in the list already."""
    unfinished: int
    """How many entries of the list the tables that are shown are not made under."""

    @property
    def is_done(self) -> bool:
        """Whether the tables that are shown are made under the list."""
        return self.unfinished == 0


class Done(msgspec.Struct, frozen=True):
    """What was done."""

    generation: str
    """Number of the one that is shown now."""
    dropped: list[str]
    tokens: list[str]
    """In the order of the values."""
    traces: list[Trace]
    """Texts of the records that still hold a value: ids, a need, or another spelling."""


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

    async def plan(self, kind: Kind | None, written: Sequence[str]) -> Plan:
        """Look what there is; changes nothing.

        Args:
            kind: Of what is to be withdrawn; None: nothing further, see `Plan.kind`.
            written: Names or ids.

        Raises:
            WithdrawalError: A value cannot be withdrawn, or the tables are made under other settings.
            ForgottenFileError: The list cannot be written anew without a loss.

        """
        values = [] if kind is None else list(dict.fromkeys(_usable(kind, each) for each in written))
        found = await find(self._tables, self._settings)
        self._check_settings(found)
        check_readers(self._path)
        ours, theirs = self._settings.forgotten, decoded(found.live.definitions).forgotten.stored.count
        now = ours if kind is None else ours.with_values(kind, values, read_forgotten(pending(self._path)))
        if not now:
            raise WithdrawalError(
                f"there is nothing in the list of what is withdrawn, {self._path}; is it the right file?"
            )
        if len(now.entries) > MOST_ENTRIES:
            raise WithdrawalError(f"more than {MOST_ENTRIES:,} names and ids cannot be withdrawn")
        unfinished = len(now.entries) - theirs
        if unfinished:
            await self._check_refused(found.live.number)
        mentioned = Mentioned(None, ()) if kind is None else await self._mentioned(found.live.number, kind, values)
        before = [] if kind is None else [value for value in values if ours.token_of(kind, value) is not None]
        return Plan(
            *(kind, values, now, mentioned.of, dict(mentioned.similar), list(mentioned.leads_of), before), unfinished
        )

    def _check_settings(self, found: Found) -> None:
        """Refuse where more has changed than the list."""
        if not same_but_for_the_list(found.live.definitions, self._settings.definitions):
            raise WithdrawalError(
                "other settings have changed since the tables were made, so it could not be proved that no total changes: "
                f"{'; '.join(found.changed)}. Put them back, or run `salesfx rebuild` before; where rates were only added, "
                "start a worker before"
            )

    async def _mentioned(self, live: str, kind: Kind, values: list[str]) -> Mentioned:
        """Count what names the values."""

        async def count(view: View) -> Mentioned:
            mentioned = Mentioned(kind, values)
            async for chunk in view.scan(*HOMES):
                for ref, content in chunk.items():
                    mentioned.add(ref, content)
                await asyncio.sleep(0)
            return mentioned

        return await self._viewed(live, count)

    async def _viewed(self, number: str, read: Callable[[View], Awaitable[_Read]]) -> _Read:
        """Read from a view of a generation; where it is lost on the way, from another."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[View]:
            async with self._tables.view((), number) as view:
                if view is None:
                    raise _gone(number)
                yield view

        return await with_views(opened, read)

    async def _check_refused(self, live: str) -> None:
        """Refuse where tables made anew would count more: that could not be told from a token that changes a number."""
        snapshot = await self._tables.snapshot((), live)
        if snapshot is None:
            raise _gone(live)
        waiting = await asyncio.to_thread(usable_by_now, self._settings, snapshot.offsets, snapshot.counters)
        if waiting > 0:
            raise WithdrawalError(
                f"{waiting:,} events were refused for want of a rate that there is now. Tables that are made anew count them, so it "
                "could not be proved that no total changes. Put them in before: `salesfx dead-letters replay --reason no_rate`; "
                "where they were dropped, or cannot be replayed, `salesfx rebuild --anyway`"
            )

    async def carry_out(self, plan: Plan) -> Done:
        """Do it; where it is interrupted, it can be done again.

        Raises:
            BeingChangedError: Another withdrawal is at work.
            NotTheSameError: A number would change; nothing was swapped.
            SalesfxError: As a rebuild.

        """
        with held(self._path):
            self._check_list()
            now, left = (plan.list_now, []) if plan.is_done else await self._swapped(plan)
            shown, dropped = await self._drop_others(now)
            remove_pending(self._path)
        return Done(shown, dropped, _tokens(plan, now), left)

    def _check_list(self) -> None:
        """Refuse where somebody else has changed the list since it was read."""
        before = read_forgotten(self._path) or Forgotten()
        if before.stored != self._settings.forgotten.stored:
            raise WithdrawalError(
                f"the list in {self._path} was changed meanwhile, by another `salesfx forget`; nothing was swapped. Do this one again"
            )

    async def _swapped(self, plan: Plan) -> tuple[Forgotten, list[Trace]]:
        """Have tables shown that are made under the list; where tokens change a number, with others."""
        now, before = plan.list_now, list[str]()
        in_force = len(self._settings.forgotten.entries)
        for _ in range(_DRAWS):
            write_forgotten(pending(self._path), now)
            made, differ, left = await self._made(plan, now)
            if not differ:
                return now, left
            await self._tables.generations.drop(made)
            if same_cells(differ, before) or len(now.entries) == in_force:
                break
            self._show.say(
                "numbers would change: where two versions of an event tie, tokens may decide otherwise; drawing others"
            )
            now, before = now.redrawn(in_force), differ
        remove_pending(self._path)
        raise NotTheSameError(_in_words(differ))

    async def _made(self, plan: Plan, now: Forgotten) -> tuple[str, list[str], list[Trace]]:
        """Make the tables with tokens; show them where nothing differs but names."""
        settings = msgspec.structs.replace(self._settings, forgotten=now)
        found = await find(self._tables, settings)
        async with rebuilding(settings, self._tables, found.live, self._show) as making:
            await making.catch_up()
            live, new = await making.side_by_side()
            differ = _unequal(live, new, now)
            if differ:
                return making.new, differ, []
            left = await self.traces(making.new, plan.values)
            self._check_list()
            write_forgotten(self._path, now)
            await making.swap()
            return making.new, [], left

    async def traces(self, number: str, values: Sequence[str]) -> list[Trace]:
        """Look for values in all records of a generation.

        Raises:
            RecordDamagedError: One cannot be read.
            ViewLostError: The tables are replaced again and again.

        """
        if not values:
            return []

        async def search(view: View) -> list[Trace]:
            traces = Traces(values)
            async for chunk in view.scan(*HOMES, QUOTE, DEAL, ACCOUNT):
                for ref, content in chunk.items():
                    traces.add(ref, content)
                await asyncio.sleep(0)
            return traces.found

        return await self._viewed(number, search)

    async def _drop_others(self, now: Forgotten) -> tuple[str, list[str]]:
        """Delete all generations but the one that is shown, where that is made under the list: they have the names."""
        there = await self._tables.generations.all()
        shown = next((each for each in there if each.shown), None)
        if shown is None or not shown.definitions or decoded(shown.definitions).forgotten.stored != now.stored:
            which = "no generation" if shown is None else f"generation {shown.number}"
            raise WithdrawalError(
                f"{which} of the tables is shown by now, which is not made under the list: somebody else chose it, or Redis was put "
                "back. Nothing was deleted, and names may be shown again. `salesfx forget --again` withdraws them"
            )
        others = [each.number for each in there if not each.shown]
        for number in others:
            await self._tables.generations.drop(number)
        return shown.number, others


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


def _gone(number: str) -> TablesGoneError:
    return TablesGoneError(f"generation {number} is gone from Redis. Run it again.")


def _tokens(plan: Plan, now: Forgotten) -> list[str]:
    return [] if plan.kind is None else [now.token_of(plan.kind, value) or "" for value in plan.values]


def _unequal(live: Snapshot, new: Snapshot, now: Forgotten) -> list[str]:
    """Compare all tables, totals, days and hours, but for the names that are withdrawn."""
    totals = [monthly((n, t) for n, t in each.tables.items() if n.startswith(MONTH)) for each in (live, new)]
    cells = [to_cells(each.tables.items()) for each in (live, new)]
    tokens = people_withdrawn((*totals[0], *cells[0]), now)
    return unequal(totals[0], totals[1], tokens) + unequal(cells[0], cells[1], tokens)


def _in_words(differ: list[str]) -> str:
    return (
        f"nothing was withdrawn: {len(differ)} numbers would change, among them {', '.join(differ[:3])}. Either the tables do not "
        "agree with the log (`salesfx audit --from-log` tells; where events were refused as too_many_entities the order in which "
        "they came decides, and `salesfx rebuild --anyway` before may help), or two versions of one entity have the same "
        "revision, recorded_at and event_id, and their contents decide which stands; publish it once more with a greater revision"
    )
