"""Finds what stands out in a month: its largest qualified leads, and the won deals that the wall stops for.

The tables do not know single leads, so this reads the records as `explain` does. That costs: hence one look at a time, after
a change that can matter, and seldom.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import NamedTuple

from salesfx.errors import SalesfxError
from salesfx.reading.explanation import Explanation, Question, explain
from salesfx.reading.month import Month
from salesfx.reading.numbers import of_month
from salesfx.reading.reader import Reader
from salesfx.reading.wall import Large, LargeDeal
from salesfx.settings import Settings
from salesfx.tables.layout import MONTH
from salesfx.tables.store import Snapshot

_QUALIFIED_LISTED, _DEALS_LISTED = 5, 20
_QUALIFIED_EVERY_SECONDS = 60.0
_IDLE_FOR_EACH_BUSY = 10.0
"""Reading takes a tenth of the time at most, however many leads there are."""
_log = logging.getLogger(__name__)


class _Seen(NamedTuple):
    """What the tables said when it was looked last."""

    month: Month
    qualified: Mapping[str, int]
    booked: int
    """Value in hundredths."""


class LargeFinder:
    """Keeps what stands out in the current month."""

    def __init__(self, reader: Reader, settings: Settings, changed: Callable[[], None]) -> None:
        """Make it; `changed` is called when it has found something else than before."""
        self._reader = reader
        self._settings = settings
        self._changed = changed
        self._latest = Large()
        self._month: Month | None = None
        self._qualified: Mapping[str, int] | None = None
        self._booked: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._missed = False
        """Whether something was to be looked for while it was looking already."""
        self._not_before = {"qualified": 0.0, "won": 0.0}

    def latest(self, month: Month) -> Large:
        """Give what was found last; nothing where that was another month's."""
        return self._latest if month == self._month else Large()

    def look(self, snapshot: Snapshot, month: Month) -> None:
        """Begin to look again where a change in the tables can matter; does not wait.

        Args:
            snapshot: With the month's table.
            month: The current one.

        """
        if self._task is not None and not self._task.done():
            self._missed = True
            return
        if month != self._month:
            self._month, self._latest, self._qualified, self._booked = month, Large(), None, None
        numbers = of_month(snapshot.tables[f"{MONTH}{month}"])
        seen = _Seen(month, numbers.by_label["qualified_leads_value"], numbers.total("booked_sales_value"))
        now = time.monotonic()
        qualified = seen.qualified != self._qualified and now >= self._not_before["qualified"]
        won = self._may_have_won(seen.booked)
        if won and now < self._not_before["won"]:
            asyncio.get_running_loop().call_later(self._not_before["won"] - now, self._changed)
            won = False
        if qualified or won:
            self._task = asyncio.create_task(self._find(seen, qualified=qualified, won=won))

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _may_have_won(self, booked: int) -> bool:
        """Tell whether a deal from the threshold on may have come, or gone."""
        least = self._settings.wall_celebrates_from
        if least is None or booked == self._booked:
            return False
        return self._booked is None or booked < self._booked or booked - self._booked >= least * 100

    async def _find(self, seen: _Seen, *, qualified: bool, won: bool) -> None:
        before = self._latest
        try:
            if won:
                deals = await self._timed("won", lambda: self._won(seen.month))
                self._latest, self._booked = Large(self._latest.qualified_leads, deals), seen.booked
            if qualified:
                leads = await self._timed("qualified", lambda: self._largest(seen.month))
                self._latest, self._qualified = Large(leads, self._latest.won_deals), seen.qualified
        except SalesfxError as error:
            _log.warning("the largest leads and deals cannot be looked for: %s", error)
        if self._latest != before or self._missed:
            self._missed = False
            self._changed()

    async def _timed(self, what: str, find: Callable[[], Awaitable[list[LargeDeal]]]) -> list[LargeDeal]:
        """Find, and set the time before which it is not done again."""
        begun = time.monotonic()
        try:
            return await find()
        finally:
            now = time.monotonic()
            pause = (now - begun) * _IDLE_FOR_EACH_BUSY
            self._not_before[what] = now + (max(pause, _QUALIFIED_EVERY_SECONDS) if what == "qualified" else pause)

    async def _largest(self, month: Month) -> list[LargeDeal]:
        return await self._ask(month, "qualified_leads_value", _QUALIFIED_LISTED)

    async def _won(self, month: Month) -> list[LargeDeal]:
        least = self._settings.wall_celebrates_from
        deals = await self._ask(month, "booked_sales_value", _DEALS_LISTED)
        return [deal for deal in deals if least is not None and Decimal(deal.value) >= least]

    async def _ask(self, month: Month, metric: str, limit: int) -> list[LargeDeal]:
        answer = await explain(self._reader, self._settings, Question(month=month, metric=metric, limit=limit))
        if not isinstance(answer, Explanation):
            raise AssertionError(metric)  # noqa: TRY004 - of these metrics there is one part
        named = self._settings.wall_salespeople
        return [
            LargeDeal(each.id, str(each.number), each.salesperson if named else None, each.date)
            for each in answer.contributions
        ]
