"""A rebuild from its beginning to the swap."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, Protocol

import msgspec
from redis.exceptions import RedisError

from salesfx.definitions import brings_back, only_adds_rates
from salesfx.definitions import differences as changed_definitions
from salesfx.errors import SalesfxError
from salesfx.event_log import KafkaSource
from salesfx.kafka_log import KafkaLog
from salesfx.reading.reader import NoTablesError
from salesfx.rebuilding.differences import Difference, differences
from salesfx.rebuilding.letters import NewLetters
from salesfx.rebuilding.making import Making, OthersCommitError
from salesfx.rebuilding.room import check_room_beside
from salesfx.rebuilding.steps import Recount, decoded, monthly, rest_name, steps
from salesfx.refusal import Reason
from salesfx.rules import Rules
from salesfx.settings import Settings, masked_url
from salesfx.tables import RedisTables, Snapshot, TablesGoneError, ViewLostError, tables_of
from salesfx.tables.definitions_check import definitions_changed, definitions_lost
from salesfx.tables.generations import (
    LEASE_SECONDS,
    AnotherAtWorkError,
    Generation,
    GenerationError,
    State,
    behind,
    by_field,
)
from salesfx.tables.layout import MONTH, Layout

SMALL_LAG = 2000
"""Events that are read in the twinkling of an eye: from here on the new generation counts as being as far as the live one."""
FOLLOW_SECONDS = 1.0
_ATTEMPTS = 5


class Shower(Protocol):
    """Shows how far a rebuild is."""

    def total(self, stage: str, number: int) -> None:
        """Note how much there is to be done more."""

    def advance(self, stage: str, number: int) -> None:
        """Note what was done."""

    def say(self, sentence: str) -> None:
        """Tell what is going on."""


class Found(NamedTuple):
    """What there is before a rebuild."""

    live: Generation
    changed: list[str]
    """What differs from the settings in force, a sentence each."""
    only_rates: bool
    """Whether the only change is one that a worker takes up by itself."""


class Report(msgspec.Struct, frozen=True):
    """What a rebuild came to."""

    live: str
    """Number of the generation that was shown."""
    new: str
    changed: list[str]
    """What the new one is made under, a sentence each."""
    steps: list[str]
    """The changed settings, in the order in which they were applied."""
    rest: str
    """Name of what they do not explain."""
    behind: int
    """Events that the new one lacked of the live one when they were compared: 0, unless the live one went back."""
    currencies: tuple[str, str]
    """Of the values in the live and in the new one."""
    differences: list[Difference]
    damaged: dict[str, str]
    """Cells of the live one that are no numbers, by table and field, and what stands there: they are not compared."""


async def find(tables: RedisTables, settings: Settings) -> Found:
    """Look which generation is shown, and what differs from the settings in force.

    Raises:
        NoTablesError: There are no tables.
        DefinitionsChangedError: Nothing says any more what they mean.

    """
    live = [each for each in await tables.generations.all() if each.shown]
    if not live:
        raise NoTablesError(
            f"there are no tables to be made anew: Redis at {masked_url(settings.redis)} holds nothing under the namespace "
            f"{settings.namespace!r}. The worker makes them when it starts."
        )
    if not live[0].definitions:
        raise definitions_lost(Layout(settings.namespace, live[0].number).meta)
    if brings_back(live[0].definitions, settings.definitions):
        raise definitions_changed(live[0].definitions, settings.definitions)
    ours = settings.definitions.canonical()
    if live[0].definitions == ours:
        return Found(live[0], [], only_rates=False)
    return Found(live[0], changed_definitions(live[0].definitions, ours), only_adds_rates(live[0].definitions, ours))


class Rebuild:
    """The making of one generation beside the live one."""

    def __init__(
        self, settings: Settings, tables: RedisTables, live: Generation, new: str, show: Shower, *, anyway: bool = False
    ) -> None:
        """Make it; see `rebuilding`.

        Args:
            settings: The new ones.
            tables: Of the namespace.
            live: The generation that is shown.
            new: Number of the new one.
            show: Told how far it is.
            anyway: Compare also with live tables that are damaged, without what is no number.

        """
        self._settings = settings
        self._anyway = anyway
        self._tables = tables
        self._live = live
        self.new = new
        self._show = show
        self._generations = tables.generations
        self._letters = NewLetters(settings)
        self._made = tables_of(settings, new, settings.definitions.fingerprint)
        self._making = Making(settings, self._made, KafkaSource(settings, self._made), self._letters)
        self._token = secrets.token_hex(8)
        self._renewing: asyncio.Task[None] | None = None
        self._is_shown = True
        """Whether it is told how far it is: not while it only keeps up, and a question stands on the terminal."""

    async def begin(self) -> None:
        """Be the one that makes it.

        Raises:
            AnotherAtWorkError: Another is.

        """
        waiting = f"another rebuild has been at work on generation {self.new}; looking whether it still is"
        await self._generations.take_lease(self.new, self._token, lambda: self._show.say(waiting))
        self._renewing = asyncio.create_task(self._renew())

    async def end(self) -> None:
        """Let go of it."""
        if self._renewing is not None:
            self._renewing.cancel()
            with suppress(asyncio.CancelledError, SalesfxError, RedisError, OSError):
                await self._renewing
            with suppress(RedisError, OSError):  # it expires
                await self._generations.end_lease(self.new, self._token)
        await self._letters.close()
        await self._made.close()

    async def _renew(self) -> None:
        while not _is_told_to_end():
            await asyncio.sleep(LEASE_SECONDS / 5)
            await self._generations.renew_lease(self.new, self._token)

    async def catch_up(self) -> None:
        """Take in what the live generation has, in rounds, until that is no more than a moment's events."""
        while await self._round(await self._live_offsets()) > SMALL_LAG:
            pass
        await self._generations.complete(self.new)

    async def _live_offsets(self) -> Mapping[str, int]:
        return (await self._generations.get(self._live.number)).offsets

    async def _round(self, offsets: Mapping[str, int]) -> int:
        """Take in what the log has up to some offsets; give how many events that were.

        Workers may commit into a generation that was shown before: what they have done is then not to be done again.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._try_round(offsets)
            except OthersCommitError:
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError

    async def _try_round(self, offsets: Mapping[str, int]) -> int:
        def begun(total: int) -> None:
            if self._is_shown:
                self._show.total("log", total)

        def progress(number: int) -> None:
            if self._is_shown:
                self._show.advance("log", number)
            self._check_lease()

        self._check_lease()
        return await self._making.up_to(offsets, begun, progress)

    def _check_lease(self) -> None:
        if self._renewing is not None and self._renewing.done():
            self._renewing.result()

    async def compare(self) -> Report:
        """Tell what differs, at the offsets that the live generation has now."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._compared()
            except ViewLostError:
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError

    async def _compared(self) -> Report:
        damaged: dict[str, str] = {}
        live = await self._totals(self._live.number, damaged if self._anyway else None)
        await self._round(live.offsets)
        names = [MONTH + month for month in (await self._totals(self.new)).months]
        changes = steps(live.definitions, self._settings.definitions)
        rules = [Rules(each) for each in (decoded(live.definitions), *(each.definitions for each in changes))]
        rest = rest_name(live.definitions)
        async with self._tables.view(names, self.new) as view:
            if view is None:
                raise TablesGoneError(f"generation {self.new} is gone from Redis. Run it again.")
            new = view.snapshot
            recount = Recount(view, rules, lambda number: self._show.advance("records", number))
            await recount.run()
        named = zip(["", *(each.setting for each in changes)], recount.totals, strict=True)
        return Report(
            live=self._live.number,
            new=self.new,
            changed=changed_definitions(live.definitions, self._settings.definitions.canonical()),
            steps=[each.setting for each in changes],
            rest=rest,
            behind=behind(dict(live.offsets), dict(new.offsets)) + behind(dict(new.offsets), dict(live.offsets)),
            currencies=(decoded(live.definitions).currency, self._settings.currency),
            differences=differences(monthly(live.tables.items()), list(named), monthly(new.tables.items()), rest),
            damaged=damaged,
        )

    async def _totals(self, number: str, damaged: dict[str, str] | None = None) -> Snapshot:
        """Read all months' totals of a generation at one instant; without what is no number where `damaged` is to get it."""
        names: list[str] = []
        while True:
            snapshot = await self._tables.snapshot(names, number, damaged)
            if snapshot is None:
                raise TablesGoneError(f"generation {number} is gone from Redis. Run it again.")
            wanted = [MONTH + month for month in snapshot.months]
            if set(wanted) <= set(names):
                return snapshot
            names = wanted

    async def side_by_side(self) -> tuple[Snapshot, Snapshot]:
        """Give all tables of the live and of the new generation, of the same offsets.

        Raises:
            GenerationError: The new one is ahead of the live one.

        """
        live = await self._whole(self._live.number)
        await self._round(live.offsets)
        new = await self._whole(self.new)
        if dict(live.offsets) != dict(new.offsets):
            raise GenerationError(
                f"generation {self.new}, which is made under these settings, is ahead of generation {self._live.number}, which is "
                "shown: a worker kept the one up to date and not the other, or Redis was put back. So they cannot be compared, and "
                f"nothing was swapped. `salesfx generations show {self.new}` shows it as it is; then run this again. Or run it "
                f"when a worker of generation {self._live.number} has caught up."
            )
        return live, new

    async def _whole(self, number: str) -> Snapshot:
        snapshot = await self._tables.snapshot(None, number)
        if snapshot is None:
            raise TablesGoneError(f"generation {number} is gone from Redis. Run it again.")
        return snapshot

    async def follow(self) -> None:
        """Keep up with the live generation, until it is cancelled."""
        self._is_shown = False
        while not _is_told_to_end():
            self._check_lease()
            offsets = await self._live_offsets()
            if behind(dict(offsets), await self._made.offsets()):
                await self._round(offsets)
            await asyncio.sleep(FOLLOW_SECONDS)

    async def swap(self) -> None:
        """Have readers show the new generation.

        Raises:
            GenerationError: Another than the live one is shown meanwhile.

        """
        await self._round(await self._live_offsets())
        await self._generations.show(self.new, instead_of=self._live.number)

    async def follow_log(self) -> None:
        """Keep up with the log until a worker does: whoever finds the offsets moved by somebody else may go."""
        self._is_shown = False
        log = KafkaLog(self._settings)
        left = await self._made.offsets()
        while not _is_told_to_end() and await self._made.offsets() == left:
            ends = by_field(await asyncio.to_thread(log.ranges))
            try:
                await self._try_round({field: end for field, end in ends.items() if field in left})
            except OthersCommitError:
                break
            left = await self._made.offsets()
            await asyncio.sleep(FOLLOW_SECONDS)


def _is_told_to_end() -> bool:
    """Tell whether this task was cancelled: out of a client of Redis that may come as another error."""
    ours = asyncio.current_task()
    return ours is not None and ours.cancelling() > 0


@asynccontextmanager
async def rebuilding(
    settings: Settings, tables: RedisTables, live: Generation, show: Shower, *, anyway: bool = False
) -> AsyncIterator[Rebuild]:
    """Begin a rebuild, or go on with one that was interrupted; others that were, under other settings, are cleaned up.

    Args:
        settings: The new ones.
        tables: Of the namespace.
        live: The generation that is shown.
        show: Told how far it is.
        anyway: The live one may be damaged, and whatever is older: use no generation but one that a rebuild made after it.

    Raises:
        AnotherAtWorkError: Another rebuild is at work.
        GenerationError: A generation cannot be dropped.
        NoRoomError: Redis has not enough memory for another one.

    """
    number = await _chosen(settings, tables, show, after=int(live.number) if anyway else None)
    if number is None:
        await check_room_beside(tables, live.number)
        number = await tables.generations.begin(settings.definitions, live.number)
        show.say(f"making generation {number} beside generation {live.number}, which stays as it is")
    rebuild = Rebuild(settings, tables, live, number, show, anyway=anyway)
    try:
        await rebuild.begin()
        yield rebuild
    finally:
        await rebuild.end()


async def _chosen(settings: Settings, tables: RedisTables, show: Shower, after: int | None) -> str | None:
    """Find a generation to go on with, the newest first; drop what other rebuilds have left half made.

    Args:
        settings: The new ones.
        tables: Of the namespace.
        show: Told what is done.
        after: Take no complete one but those that rebuilds made after the generation of this number; None: any.

    """
    chosen = None
    for each in reversed(await tables.generations.all()):
        ours = each.fingerprint == settings.definitions.fingerprint
        if each.shown:
            continue
        if each.state is State.DROPPING or (each.state is State.BUILDING and not ours):
            show.say(f"dropping generation {each.number}, which was left half {_LEFT[each.state]}")
            await _drop(tables, each.number)
        elif chosen is None and ours and each.state is State.BUILDING:
            chosen = each.number
            show.say(f"going on with generation {each.number}, which an interrupted rebuild began at {each.begun}")
        elif chosen is None and ours and await _is_usable(tables, each, after):
            chosen = each.number
            show.say(f"generation {each.number} is there, made under these settings: what came since is read into it")
    return chosen


async def _is_usable(tables: RedisTables, each: Generation, after: int | None) -> bool:
    """Tell whether a complete generation may be shown again once it has what came since.

    It lacks the events that it refused for want of a rate, where a worker has added one to it since.
    """
    if after is not None and (int(each.number) < after or each.by != "rebuild"):
        return False
    if each.began_under == each.fingerprint:
        return True
    snapshot = await tables.snapshot((), each.number)
    counters = {} if snapshot is None else snapshot.counters
    return not any(number for name, number in counters.items() if name.endswith(f"|{Reason.NO_RATE}"))


_LEFT = {State.DROPPING: "deleted", State.BUILDING: "made under other settings"}


async def _drop(tables: RedisTables, number: str) -> None:
    """Drop a generation; whoever died at work on it is waited for."""
    for _ in range(LEASE_SECONDS + 1):
        with suppress(AnotherAtWorkError):
            return await tables.generations.drop(number)
        await asyncio.sleep(1)
    return await tables.generations.drop(number)
