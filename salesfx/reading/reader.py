"""Reading the tables with a deadline, and refusing those that mean something else."""

import asyncio
from collections.abc import Collection

import redis.exceptions

from salesfx.definitions import only_adds_rates
from salesfx.errors import SalesfxError
from salesfx.reading.month import Month
from salesfx.reading.months import MonthList, month_list
from salesfx.reading.report import MonthReport, month_report
from salesfx.settings import Settings, SettingsError, masked_url
from salesfx.tables import RedisTables, Snapshot, Tables, connect
from salesfx.tables.away import TablesAwayError, redis_away
from salesfx.tables.definitions_check import definitions_changed
from salesfx.tables.layout import MONTH

DEADLINE_SECONDS = 5.0
_ATTEMPTS = 5


class NoTablesError(SalesfxError):
    """Redis answers, and holds no tables under the namespace."""


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
        try:
            client = connect(settings.redis)
        except ValueError:  # its message may quote a part of the password
            raise SettingsError("redis: this is no URL of a Redis; write it like redis://127.0.0.1:6379/0") from None
        return cls(RedisTables(client, settings.namespace), settings, deadline=deadline)

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
            raise NoTablesError(
                f"there are no tables yet: Redis at {where} answers, but holds nothing under the namespace "
                f"{self._settings.namespace!r}. The worker makes them when it starts: `salesfx worker`, or `salesfx up`."
            )
        self._check_meaning(snapshot)
        return snapshot

    async def close(self) -> None:
        """Give back the connections."""
        await self._tables.close()

    def _check_meaning(self, snapshot: Snapshot) -> None:
        ours = self._settings.definitions
        if snapshot.fingerprint == ours.fingerprint:
            return
        theirs, our_bytes = snapshot.definitions, ours.canonical()
        if not (only_adds_rates(theirs, our_bytes) or only_adds_rates(our_bytes, theirs)):
            raise definitions_changed(theirs, ours)


_WHAT_TO_DO = "Is it running, and is SALESFX_REDIS (`redis` in the settings) right?"
