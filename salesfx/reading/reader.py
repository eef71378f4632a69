"""Reading the tables with a deadline, and refusing those that mean something else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import msgspec
import redis.exceptions

from salesfx.definitions import Definitions, only_adds_rates
from salesfx.errors import NeedsAttentionError, SalesfxError
from salesfx.reading.month import Month
from salesfx.reading.months import MonthList, month_list
from salesfx.reading.report import MonthReport, month_report
from salesfx.settings import Settings, masked_url
from salesfx.tables import Snapshot, Tables, tables_of
from salesfx.tables.away import TablesAwayError, redis_away
from salesfx.tables.definitions_check import definitions_changed
from salesfx.tables.layout import MONTH
from salesfx.tables.store import View, ViewLostError

DEADLINE_SECONDS = 5.0
_ATTEMPTS = 5
_LOOK_SECONDS = 0.5
_Answer = TypeVar("_Answer")


class NoTablesError(SalesfxError):
    """Redis answers, and holds no tables under the namespace."""


class RecordDamagedError(NeedsAttentionError):
    """Somebody else has written to the records."""


class Reader:
    """Reads the tables that belong to the settings."""

    def __init__(self, tables: Tables, settings: Settings, *, deadline: float = DEADLINE_SECONDS) -> None:
        """Make a reader.

        Args:
            tables: Where they are; the reader closes them.
            settings: Whose definitions the tables must have.
            deadline: Seconds within which one read must be done, tries and connecting together.

        """
        self._tables = tables
        self._settings = settings
        self._deadline = deadline

    @classmethod
    def connected(cls, settings: Settings, *, deadline: float = DEADLINE_SECONDS) -> "Reader":
        """Make a reader of the Redis in the settings; nothing is sent before its first read.

        Raises:
            SettingsError: `redis` is not a URL of a Redis.

        """
        return cls(tables_of(settings), settings, deadline=deadline)

    async def month(self, month: Month) -> MonthReport:
        """Report one month; raises what `snapshot` raises."""
        return month_report(await self.snapshot([f"{MONTH}{month}"]), month)

    async def months(self) -> MonthList:
        """List every month that has a table; raises what `snapshot` raises."""
        months: Collection[str] = ()
        for _ in range(_ATTEMPTS):
            snapshot = await self.snapshot([MONTH + month for month in months])
            if set(snapshot.months) <= set(months):
                return month_list(snapshot)
            months = snapshot.months
        raise TablesAwayError("the tables get new months faster than they can be listed; ask again.")

    async def snapshot(self, names: Collection[str] = ()) -> Snapshot:
        """Read tables, all of one instant.

        Args:
            names: Of the tables, like month:2026-10.

        Raises:
            TablesAwayError: Redis gave no answer within the deadline, or an error.
            NoTablesError: There are none yet.
            DefinitionsChangedError: They were made under other definitions. One more rate for a currency that had none
                is not another definition to a reader.

        """
        where = masked_url(self._settings.redis)
        try:
            async with asyncio.timeout(self._deadline):
                snapshot = await self._tables.snapshot(names)
        except TimeoutError:
            raise TablesAwayError(
                f"Redis at {where} gave no answer within {self._deadline:g} s. {_WHAT_TO_DO}"
            ) from None
        except (redis.exceptions.RedisError, OSError) as error:
            raise redis_away(self._settings.redis, error) from error
        if snapshot is None:
            raise self._no_tables()
        self._check_meaning(snapshot)
        return snapshot

    @contextlib.asynccontextmanager
    async def view(self, names: Collection[str] | None = None) -> AsyncIterator[View]:
        """Open the tables and all records of one instant; there is no deadline, since a scan may take seconds.

        Args:
            names: Of the tables that its snapshot is to hold; None: all.

        Raises:
            TablesAwayError: Redis gave an error, or no answer, also to what is read from the view.
            NoTablesError: There are none yet.
            DefinitionsChangedError: They were made under other definitions; see `snapshot`.
            ViewLostError: They were emptied or replaced while they were being read; open another.

        """
        try:
            async with self._tables.view(names) as view:
                if view is None:
                    raise self._no_tables()
                self._check_meaning(view.snapshot)
                yield view
        except (redis.exceptions.RedisError, OSError) as error:
            raise redis_away(self._settings.redis, error) from error

    def _no_tables(self) -> NoTablesError:
        return NoTablesError(
            f"there are no tables yet: Redis at {masked_url(self._settings.redis)} answers, but holds nothing under the "
            f"namespace {self._settings.namespace!r}. The worker makes them when it starts: `salesfx worker`, or "
            "`salesfx up`."
        )

    async def close(self) -> None:
        """Give back the connections."""
        await self._tables.close()

    def _check_meaning(self, snapshot: Snapshot) -> None:
        if not means_the_same(snapshot, self._settings.definitions):
            raise definitions_changed(snapshot.definitions, self._settings.definitions)

    async def changed_settings(self) -> Settings:
        """Wait until another generation is shown in the place of one that could be read; nothing ends the waiting else.

        Returns:
            The settings with the definitions that it is made under.

        """
        agreed, ours = None, asyncio.current_task()
        # A cancellation that comes while a client of Redis gives up a connection may come out of it as another error.
        while ours is None or not ours.cancelling():
            with contextlib.suppress(redis.exceptions.RedisError, OSError, SalesfxError):
                async with asyncio.timeout(self._deadline):
                    snapshot = await self._tables.snapshot()
                if snapshot is not None and means_the_same(snapshot, self._settings.definitions):
                    agreed = snapshot.generation
                elif snapshot is not None and agreed not in {None, snapshot.generation}:
                    theirs = msgspec.json.decode(snapshot.definitions, type=Definitions)
                    # Other ones where this machine has another edition of salesfx or of the time zones.
                    if theirs.fingerprint == snapshot.fingerprint:
                        return self._settings.with_definitions(theirs)
            await asyncio.sleep(_LOOK_SECONDS)
        raise asyncio.CancelledError


def means_the_same(snapshot: Snapshot, ours: Definitions) -> bool:
    """Tell whether tables mean to a reader what our definitions say: rates for currencies that had none may be added."""
    if snapshot.fingerprint == ours.fingerprint:
        return True
    theirs, our_bytes = snapshot.definitions, ours.canonical()
    return only_adds_rates(theirs, our_bytes) or only_adds_rates(our_bytes, theirs)


_WHAT_TO_DO = "Is it running, and is SALESFX_REDIS (`redis` in the settings) right?"


async def with_views(
    opened: Callable[[], AbstractAsyncContextManager[View]], read: Callable[[View], Awaitable[_Answer]]
) -> _Answer:
    """Read from a view; where it is lost on the way, from another, a few times.

    Args:
        opened: Opens one.
        read: What to do with one.

    Raises:
        RecordDamagedError: A record cannot be read.
        ViewLostError: Each was lost.
        SalesfxError: What opening raises.

    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            async with opened() as view:
                return await read(view)
        except ViewLostError:
            if attempt == _ATTEMPTS:
                raise
        except (msgspec.MsgspecError, ValueError, OverflowError) as error:
            raise RecordDamagedError(
                f"there is a record in Redis that salesfx cannot have written ({type(error).__name__}: {error}). `salesfx "
                "audit` names it, and docs/audit.md says what to do."
            ) from error
    raise AssertionError
