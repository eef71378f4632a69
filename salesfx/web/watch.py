"""Watches the tables for all open walls at once: one look at Redis each half second, and one document for all of them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from salesfx.errors import SalesfxError
from salesfx.reading import NoTablesError, TablesAwayError
from salesfx.reading.reader import Reader
from salesfx.reading.wall import Wall
from salesfx.tables.store import DefinitionsChangedError

LOOK_SECONDS = 0.5
ALIVE_SECONDS = 15.0
"""A listener that was told nothing for so long is told that there is nothing."""
ANEW_SECONDS = 60.0
"""Without a change, too: time goes on, and midnight comes."""
MOST_LISTENERS = 200
_KINDS = {TablesAwayError: "tables_away", NoTablesError: "no_tables", DefinitionsChangedError: "other_definitions"}
_log = logging.getLogger(__name__)


class TooManyListenersError(SalesfxError):
    """As many walls are open as one server serves."""


class Watch:
    """Makes the document of the walls, and tells whoever listens when there is another."""

    def __init__(self, reader: Reader, compose: Callable[[], Awaitable[Wall]], beside: Callable[[], object]) -> None:
        """Make it; nothing is read before somebody asks.

        Args:
            reader: Of the tables.
            compose: Makes the document of this moment.
            beside: Gives what the document is made from beside the tables; it is compared at each look.

        """
        self._reader = reader
        self._compose = compose
        self._beside = beside
        self._composing = asyncio.Lock()
        self._document: tuple[float, bytes] | None = None
        self._message = b""
        self._told = asyncio.Condition()
        self._listeners = 0
        self._stale = asyncio.Event()
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    async def document(self) -> bytes:
        """Give the document of this moment; many who ask within half a second get the same.

        Raises:
            SalesfxError: What `Reader.snapshot` raises.

        """
        async with self._composing:
            if self._document is None or time.monotonic() - self._document[0] > LOOK_SECONDS:
                self._document = time.monotonic(), msgspec.json.encode(await self._compose())
            return self._document[1]

    def renew(self) -> None:
        """Say that the document has become another without a change in the tables."""
        self._stale.set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give the server-sent events of one listener: the state now, each later one, and signs of life.

        A listener that is slow gets the latest state, never a row of old ones.

        Raises:
            TooManyListenersError: There are too many already.

        """
        if self._listeners >= MOST_LISTENERS:
            raise TooManyListenersError(f"{self._listeners} walls are open already; ask again later.")
        self._listeners += 1
        if self._task is None:
            self._message = b""
            self._task = asyncio.create_task(self._watch())
        try:
            yield self._messages()
        finally:
            self._listeners -= 1
            if not self._listeners:
                await self._stop_watching()

    async def close(self) -> None:
        """End the events of all listeners."""
        self._closed = True
        async with self._told:
            self._told.notify_all()
        await self._stop_watching()

    async def _messages(self) -> AsyncIterator[bytes]:
        yield b"retry: 2000\n\n"
        sent = b""
        while not self._closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ALIVE_SECONDS), self._told:
                    await self._told.wait_for(lambda: self._closed or self._message != sent)  # noqa: B023 - awaited here
            if self._closed:
                return
            if self._message == sent:
                yield _event("alive", b"{}")
            else:
                sent = self._message
                yield sent

    async def _stop_watching(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        """Look, and tell what has changed."""
        shown: object = None
        until = 0.0
        ours = asyncio.current_task()
        # A cancellation that comes while a client of Redis gives up a connection may come out of it as another error.
        while ours is not None and not ours.cancelling():
            renewed = self._stale.is_set()
            self._stale.clear()
            try:
                snapshot = await self._reader.snapshot()
                state = (snapshot.generation, snapshot.fingerprint, snapshot.offsets, self._beside())
                if state != shown or time.monotonic() > until or renewed:
                    self._document = None
                    await self._tell(_event("wall", await self.document()))
                    shown, until = state, time.monotonic() + ANEW_SECONDS
            except SalesfxError as error:
                shown = None
                await self._tell(_event("trouble", msgspec.json.encode({"trouble": trouble_kind(error)})))
            except Exception:  # noqa: BLE001 - whatever it is, the walls must hear of it
                # Whoever looks must not take numbers for fresh that nobody watches any more.
                _log.exception("the wall's numbers cannot be made")
                shown = None
                await self._tell(_event("trouble", b'{"trouble":"failed"}'))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._stale.wait()

    async def _tell(self, message: bytes) -> None:
        if message != self._message:
            self._message = message
            async with self._told:
                self._told.notify_all()


def trouble_kind(error: SalesfxError) -> str:
    """Name what is wrong with the tables, for the page to put into words."""
    return _KINDS.get(type(error), "failed")


def _event(name: str, data: bytes) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
