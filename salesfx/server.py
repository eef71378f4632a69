"""The HTTP server: the wall, `/metrics`, `/api` and the health checks. docs/http.md tells of each.

Whatever shows sales asks for the token where one is set, and is not served beyond loopback without one unless the
settings say so: `salesfx.web.access`.
"""

import asyncio
import contextlib
import errno
import functools
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client.exposition import choose_encoder

from salesfx.errors import SalesfxError
from salesfx.events import FIRST_YEAR, LAST_YEAR
from salesfx.exporter import SalesCollector, registry_of
from salesfx.lead_flow.live import LeadFlowJudge
from salesfx.log_ends import LogEnds
from salesfx.reading import Month, NoTablesError, Reader, TablesAwayError, current_month, local_today
from salesfx.reading.explanation import Question, QuestionError, explain
from salesfx.reading.lag import LogEndsView
from salesfx.reading.lead_flow import FlowQuestionError, judged, lead_flow, lead_flow_needs
from salesfx.reading.moment import read_moment
from salesfx.reading.progress import ProgressOf, progress_tables
from salesfx.settings import Settings
from salesfx.tables.store import DefinitionsChangedError
from salesfx.web.about import CONTENT_SECURITY_POLICY, State, about_page
from salesfx.web.access import ENTRANCE, Access
from salesfx.web.parts import Parts
from salesfx.web.wall import FILES, WallPages, ask_page

_log = logging.getLogger(__name__)
_CLOSE_SECONDS = 5.0
_BACKLOG = 128
"""Connections that wait for being accepted, also while one application gives way to another."""
_LISTED, _MOST_LISTED = 1000, 10_000
"""Contributions in one explanation: by default, and at most."""
_QUESTION = ("month", "metric", "source", "salesperson", "category", "limit", "lang")
_FLOW_QUESTION = ("source", "at")
_EXPLAINED_AT_ONCE, _WAITING = 2, 8
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "salesfx",
}
_IN_SHORT = {
    TablesAwayError: "Redis cannot be read",
    NoTablesError: "there are no tables yet",
    DefinitionsChangedError: "the settings mean other numbers than those in the tables",
}
"""For `/readyz`, which asks for no token: why, without addresses and settings."""


class ServerStartError(SalesfxError):
    """The server cannot listen where it was told to."""


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


async def serve(
    settings: Settings, *, ready: Callable[[str], None] | None = None, now: Callable[[], datetime] = utc_now
) -> None:
    """Serve until cancelled.

    Where another generation of the tables is shown from one moment to the next, it goes on with the definitions which that
    one is made under: another application takes the same sockets over, so no answer mixes two, and none is refused for long.

    Args:
        settings: Where to listen (port 0 is a free port), and where Redis and Kafka are.
        ready: Gets the server's URL, without a trailing slash, once it listens.
        now: The clock; gives aware datetimes.

    Raises:
        NeedsAttentionError: Sales would be shown beyond loopback to everybody, or a setting cannot be used.
        ServerStartError: The port is taken, or the address is not one of this machine.

    """
    access = Access.of(settings)
    log_ends = LogEnds(settings)

    def application(settings: Settings, reader: Reader) -> web.Application:
        return build_app(settings, reader, access=access, log_ends=lambda: log_ends.latest, now=now)

    with contextlib.ExitStack() as stack:
        stack.callback(log_ends.stop)
        sockets = [stack.enter_context(each) for each in await _listening(settings)]

        log_ends.start()
        begun = (lambda: None) if ready is None else functools.partial(ready, _url(sockets[0]))
        while True:
            settings = await _serve_until_changed(settings, application, sockets, begun)
            begun = _say_changed


async def _serve_until_changed(
    settings: Settings,
    application: Callable[[Settings, Reader], web.Application],
    sockets: Iterable[socket.socket],
    begun: Callable[[], None],
) -> Settings:
    """Serve until another generation is shown; give the settings for it."""
    reader = Reader.connected(settings)
    # Who has gone away waits for nothing: what was begun for them would hold up others.
    runner = web.AppRunner(
        application(settings, reader),
        access_log=None,
        handle_signals=False,
        shutdown_timeout=_CLOSE_SECONDS,
        handler_cancellation=True,
    )
    try:
        await runner.setup()
        for each in sockets:
            await web.SockSite(runner, each.dup()).start()
        begun()
        return await reader.changed_settings()
    finally:
        await runner.cleanup()
        await reader.close()


def _say_changed() -> None:
    _log.warning(
        "another generation of the tables is shown now, made under other settings; they are served as it was made. Put the "
        "same settings into this server's before it is started again"
    )


def build_app(
    settings: Settings,
    reader: Reader,
    *,
    access: Access,
    log_ends: Callable[[], LogEndsView | None],
    now: Callable[[], datetime] = utc_now,
) -> web.Application:
    """Put the routes together; starts and opens nothing.

    Args:
        settings: For the business time zone, and for judging the lead flow.
        reader: Of the tables.
        access: Who may see sales.
        log_ends: Gives what Kafka said last.
        now: The clock; gives aware datetimes.

    """
    parts = Parts(settings, reader, log_ends, now, LeadFlowJudge(settings), ProgressOf(settings))
    pages, wall = Pages(parts), WallPages(parts)

    async def enter(request: web.Request) -> web.StreamResponse:
        return await access.enter(request, ask_page)

    app = web.Application(middlewares=[_errors_as_json, access.middleware(frozenset(FILES), ask_page)])
    app.on_response_prepare.append(_add_headers)
    app.on_shutdown.append(wall.close)
    app.add_routes(wall.routes())
    app.add_routes(
        [
            web.post(ENTRANCE, enter),
            web.get("/about", pages.about),
            web.get("/metrics", pages.metrics),
            web.get("/api/months", pages.months),
            web.get("/api/months/{month}", pages.month),
            web.get("/api/months/{month}/progress", pages.progress),
            web.get("/api/explain", pages.explain),
            web.get("/api/lead-flow", pages.lead_flow),
            web.get("/livez", pages.live),
            web.get("/readyz", pages.readiness),
        ]
    )
    return app


class Pages:
    """What the server answers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._timezone = parts.settings.timezone
        self._trouble: type[SalesfxError] | None = None
        self._explaining = asyncio.Semaphore(_EXPLAINED_AT_ONCE)
        self._asked = 0

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Answer a scrape from one snapshot; where there is none, with `salesfx_up 0`."""
        now = self._parts.now()
        today = local_today(now, self._timezone)
        month = Month.of(today)
        async with self._noted() as trouble:
            snapshot = await self._parts.reader.snapshot({*lead_flow_needs(today), *progress_tables(month)})
        log_ends = self._parts.log_ends()
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))

        def written() -> bytes:
            if trouble:
                return encoder(registry_of(SalesCollector(None, today, log_ends)))
            flows = judged(self._parts.judge, snapshot, now, self._timezone)
            progress = self._parts.progress_of.targets, self._parts.progress_of.month(snapshot, month, now)
            return encoder(registry_of(SalesCollector(snapshot, today, log_ends, flows.trouble, flows, progress)))

        # In a thread, so that a health check need not wait until some ten thousand samples are written.
        body = await asyncio.to_thread(written)
        response = web.Response(body=body, headers={"Content-Type": content_type})
        response.enable_compression()
        return response

    async def months(self, _request: web.Request) -> web.StreamResponse:
        """List every month with its headline numbers."""
        return _json(await self._parts.reader.months())

    async def month(self, request: web.Request) -> web.StreamResponse:
        """Report one month."""
        try:
            month = Month.parse(request.match_info["month"])
        except ValueError as error:
            return _error(400, str(error))
        return _json(await self._parts.reader.month(month))

    async def progress(self, request: web.Request) -> web.StreamResponse:
        """Tell how one month goes."""
        try:
            month = _month_to_look_back_from(request.match_info["month"])
        except ValueError as error:
            return _error(400, str(error))
        snapshot = await self._parts.reader.snapshot(progress_tables(month))
        # In a thread: it takes some hundredths of a second.
        return _json(await asyncio.to_thread(self._parts.progress_of.month, snapshot, month, self._parts.now()))

    async def explain(self, request: web.Request) -> web.StreamResponse:
        """Tell what makes up a number; it reads every record, so few are answered at once."""
        try:
            question = _question(request.query)
        except (ValueError, QuestionError) as error:
            return _error(400, str(error))
        if self._asked >= _EXPLAINED_AT_ONCE + _WAITING:
            return _error(
                503, f"{self._asked} explanations are being made or waited for; ask again later.", {"Retry-After": "5"}
            )
        self._asked += 1
        try:
            async with self._explaining:
                answer = await explain(self._parts.reader, self._parts.settings, question)
        finally:
            self._asked -= 1
        if not answer.exact:
            _log.error(
                "%s of %s is not what the records add up to: run `salesfx audit`", question.metric, question.month
            )
        # In a thread: ten thousand contributions are some megabytes.
        body = await asyncio.to_thread(msgspec.json.encode, answer)
        response = web.Response(body=body, content_type="application/json")
        response.enable_compression()
        return response

    async def lead_flow(self, request: web.Request) -> web.StreamResponse:
        """Say whether fewer leads come than usual."""
        try:
            at = _moment(request.query, self._timezone)
            answer = await lead_flow(
                self._parts.reader,
                self._parts.settings,
                self._parts.now(),
                at=at,
                source=request.query.get("source"),
                judge=self._parts.judge,
            )
        except (ValueError, FlowQuestionError) as error:
            return _error(400, str(error))
        return _json(answer)

    async def live(self, _request: web.Request) -> web.StreamResponse:
        """Say that the process answers; asks nobody else."""
        return _json({"live": True})

    async def readiness(self, _request: web.Request) -> web.StreamResponse:
        """Say whether the tables can be read, and why not."""
        async with self._noted() as trouble:
            await self._parts.reader.snapshot()
        if trouble:
            return _json(
                {"ready": False, "reasons": [_IN_SHORT.get(type(trouble[0]), "the tables cannot be read")]}, 503
            )
        return _json({"ready": True})

    async def about(self, _request: web.Request) -> web.StreamResponse:
        """Show what is up."""
        month, report = current_month(self._parts.now(), self._timezone), None
        async with self._noted() as trouble:
            report = await self._parts.reader.month(month)
        tables = State("Tables", False, str(trouble[0])) if trouble else State("Tables", True, "read from Redis")
        page = about_page([tables, _kafka_state(self._parts.log_ends())], month, report)
        return web.Response(text=page, content_type="text/html")

    @contextlib.asynccontextmanager
    async def _noted(self) -> AsyncIterator[list[SalesfxError]]:
        """Keep the tables' trouble in the list that is given, and log it where it is new."""
        trouble: list[SalesfxError] = []
        try:
            yield trouble
        except SalesfxError as error:
            trouble.append(error)
        kind = type(trouble[0]) if trouble else None
        if kind is not self._trouble:
            if trouble:
                _log.warning("nothing can be shown: %s", trouble[0])
            else:
                _log.info("the tables can be read again")
        self._trouble = kind


def _month_to_look_back_from(text: str) -> Month:
    """Read a month that events can have; the calendar ends some years before and after.

    Raises:
        ValueError: It is none; the message says so.

    """
    month = Month.parse(text)
    if not FIRST_YEAR <= month.year <= LAST_YEAR:
        raise ValueError(f"{month} is out of the years {FIRST_YEAR} to {LAST_YEAR}.")
    return month


def _question(query: Mapping[str, str]) -> Question:
    """Read a question from a URL.

    Raises:
        ValueError: A part is missing, unknown, or cannot be read; the message says which.
        QuestionError: There is no such number.

    """
    for name in query:
        if name not in _QUESTION:
            raise ValueError(f"{name[:50]!r} is none of the parameters {', '.join(_QUESTION)}.")
    for name in ("month", "metric"):
        if name not in query:
            raise ValueError(f"{name} is missing: ask like /api/explain?month=2026-11&metric=booked_sales_value.")
    limit = query.get("limit", str(_LISTED))
    if not (
        limit.isascii() and limit.isdigit() and len(limit) <= len(str(_MOST_LISTED)) and int(limit) <= _MOST_LISTED
    ):
        raise ValueError(f"limit is not a number from 0 to {_MOST_LISTED}.")
    return Question(
        month=Month.parse(query["month"]),
        metric=query["metric"],
        source=query.get("source"),
        salesperson=query.get("salesperson"),
        category=query.get("category"),
        limit=int(limit),
        lang=query.get("lang", "en"),
    )


def _moment(query: Mapping[str, str], timezone: str) -> datetime | None:
    """Read the moment that is asked for from a URL; None: now.

    Raises:
        ValueError: A part is unknown, or cannot be read; the message says which.

    """
    for name in query:
        if name not in _FLOW_QUESTION:
            raise ValueError(f"{name[:50]!r} is none of the parameters {', '.join(_FLOW_QUESTION)}.")
    if "at" not in query:
        return None
    # A plus that is not escaped is a space.
    return read_moment(query["at"].replace(" ", "+"), timezone, end=True)


def _kafka_state(log_ends: LogEndsView | None) -> State:
    if log_ends is None:
        return State("Kafka", None, "not asked yet")
    if not log_ends.answers:
        return State("Kafka", False, "does not tell the ends of its logs, so the lag is not shown")
    return State("Kafka", True, f"tells the ends of {len(log_ends.ends)} partitions")


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error as JSON with a sentence; what went wrong inside stays in the log."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return _error(404, "There is no such page. /about lists what there is.")
    except web.HTTPMethodNotAllowed as error:
        return _error(405, "This server only answers GET and HEAD.", {"Allow": error.headers["Allow"]})
    except web.HTTPException as error:
        return _error(error.status, f"{error.reason}.")
    except SalesfxError as error:
        return _error(503, str(error))
    except Exception:  # noqa: BLE001 - whatever it is, the answer is the same
        _log.exception("%s %s failed", request.method, request.path)
        return _error(500, "Something went wrong; the server's log has the details.")


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = _HEADERS["Server"]


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), status=status, content_type="application/json")


def _error(status: int, sentence: str, headers: dict[str, str] | None = None) -> web.Response:
    response = _json({"error": sentence}, status)
    response.headers.update(headers or {})
    return response


async def _listening(settings: Settings) -> list[socket.socket]:
    """Listen where the settings say."""
    host, port = settings.http_host, settings.http_port
    sockets: list[socket.socket] = []
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):
            sockets.append(socket.create_server(address[:2], family=family, backlog=_BACKLOG))
    except OSError as error:
        for each in sockets:
            each.close()
        if error.errno == errno.EADDRINUSE:
            raise ServerStartError(
                f"port {port} of {host} is taken, perhaps by another `salesfx serve` or `salesfx up`. Stop that, or choose "
                "another with --port or SALESFX_HTTP_PORT; 0 takes a free one."
            ) from None
        raise ServerStartError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}. Choose another address with --host or "
            "SALESFX_HTTP_HOST, another port with --port or SALESFX_HTTP_PORT."
        ) from None
    return sockets


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - where everything is listened to, here too
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
