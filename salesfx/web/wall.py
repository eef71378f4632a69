"""The wall: its page, its document, its events, and the files that make it up. docs/wall.md tells of it."""

import asyncio
import hashlib
from html import escape
from importlib import resources
from string import Template
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web

from salesfx import __version__
from salesfx.errors import SalesfxError
from salesfx.reading.lead_flow import judged, to_json
from salesfx.reading.month import Month
from salesfx.reading.shown import grouped, percent, total
from salesfx.reading.wall import Wall, wall, wall_tables
from salesfx.web.access import ENTRANCE
from salesfx.web.large import LargeFinder
from salesfx.web.parts import Parts
from salesfx.web.watch import TooManyListenersError, Watch, trouble_kind

_FOLDER = resources.files("salesfx.web").joinpath("wall")
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
FILES = {
    f"/wall/{file.name}": (_TYPES[file.name[file.name.rindex(".") :]], file.read_bytes())
    for file in sorted(_FOLDER.iterdir(), key=lambda file: file.name)
    if file.name.endswith(tuple(_TYPES))
}
"""What the page is made of, by path: type and content."""
_PAGE, _ASK = (Template(_FOLDER.joinpath(name).read_text(encoding="utf-8")) for name in ("page.html", "ask.html"))
LANGUAGES = ("en", "bg")
WORDS: dict[str, dict[str, Any]] = {
    language: msgspec.json.decode(_FOLDER.joinpath(f"{language}.json").read_bytes()) for language in LANGUAGES
}
BUILD = hashlib.sha256(
    b"".join(file.read_bytes() for file in sorted(_FOLDER.iterdir(), key=lambda file: file.name) if file.is_file())
).hexdigest()[:16]
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""Nothing from elsewhere, and no text that could become markup."""
_WRITE_SECONDS = 30


class WallPages:
    """What is answered to a wall."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._zone = ZoneInfo(parts.settings.timezone)
        self._watch = Watch(parts.reader, self._compose, parts.log_ends)
        self._finder = LargeFinder(parts.reader, parts.settings, self._watch.renew)

    def routes(self) -> list[web.RouteDef]:
        """List the routes."""
        return [
            web.get("/", self.page),
            web.get("/api/wall", self.document),
            web.get("/api/wall/events", self.events, allow_head=False),
            *(web.get(path, _file) for path in FILES),
        ]

    async def close(self, _app: web.Application) -> None:
        """End what goes on."""
        await self._watch.close()
        await self._finder.stop()

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Give the page with the numbers in it, so that nothing has to be waited for."""
        language, trouble = language_of(request), ""
        document = b"null"
        try:
            document = await self._watch.document()
        except SalesfxError as error:
            trouble = trouble_kind(error)
        words = WORDS[language]
        return _html(
            _PAGE,
            language,
            theme=_theme(request),
            title=escape(words["title"]),
            build=BUILD,
            version=escape(__version__),
            plain=_plain(document, words, trouble),
            first=_embedded(document),
            words=_embedded(msgspec.json.encode(words)),
            trouble=trouble,
        )

    async def document(self, _request: web.Request) -> web.StreamResponse:
        """Give the document of this moment."""
        response = web.Response(body=await self._watch.document(), content_type="application/json")
        response.enable_compression()
        return response

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Give the document whenever it has changed, as server-sent events."""
        try:
            async with self._watch.listening() as messages:
                response = web.StreamResponse(headers={"X-Accel-Buffering": "no"})
                response.content_type = "text/event-stream"
                await response.prepare(request)
                async for message in messages:
                    await _write(response, message)
                return response
        except TooManyListenersError as error:
            return web.json_response({"error": str(error)}, status=503, headers={"Retry-After": "30"})
        except (ConnectionError, TimeoutError):
            return response

    async def _compose(self) -> Wall:
        parts = self._parts
        now = parts.now().astimezone(self._zone)
        month = Month.of(now.date())
        snapshot = await parts.reader.snapshot(wall_tables(now.date()))
        self._finder.look(snapshot, month)
        large, log_ends = self._finder.latest(month), parts.log_ends()

        def composed() -> Wall:
            progress = parts.progress_of.month(snapshot, month, now)
            return wall(
                snapshot,
                now,
                build=BUILD,
                show_salespeople=parts.settings.wall_salespeople,
                large=large,
                log_ends=log_ends,
                progress=progress,
                lead_flow=to_json(judged(parts.judge, snapshot, now, parts.settings.timezone)),
            )

        return await asyncio.to_thread(composed)


async def ask_page(request: web.Request, wrong: bool) -> web.StreamResponse:
    """Ask for the token; who sends it gets a cookie."""
    language = language_of(request)
    words = WORDS[language]
    response = _html(
        _ASK,
        language,
        theme=_theme(request),
        title=escape(words["title"]),
        enter=escape(_entrance(request)),
        heading=escape(words["ask_heading"]),
        text=escape(words["ask_text"]),
        label=escape(words["ask_label"]),
        send=escape(words["ask_send"]),
        wrong=f'<p id="wrong" role="alert">{escape(words["ask_wrong"])}</p>' if wrong else "",
    )
    response.set_status(401)
    response.headers["WWW-Authenticate"] = 'Bearer realm="salesfx"'
    return response


def language_of(request: web.Request) -> str:
    """Tell the language: the one that is asked for, else the browser's first that there is, else English."""
    asked = request.query.get("lang", "")
    if asked in LANGUAGES:
        return asked
    for part in request.headers.get("Accept-Language", "").split(",")[:10]:
        tag = part.partition(";")[0].strip().lower().partition("-")[0]
        if tag in LANGUAGES:
            return tag
    return LANGUAGES[0]


async def _write(response: web.StreamResponse, message: bytes) -> None:
    """Write to somebody who may have gone without a word."""
    async with asyncio.timeout(_WRITE_SECONDS):
        await response.write(message)


async def _file(request: web.Request) -> web.StreamResponse:
    content_type, content = FILES[request.path]
    response = web.Response(body=content, content_type=content_type, charset="utf-8")
    response.enable_compression()
    return response


def _entrance(request: web.Request) -> str:
    """Give the address of the form: it leads back to the wall in the language and the theme that were asked for."""
    asked = {name: request.query[name] for name in ("lang", "theme") if name in request.query}
    return f"{ENTRANCE}?{urlencode(asked)}".rstrip("?")


def _theme(request: web.Request) -> str:
    asked = request.query.get("theme", "")
    return asked if asked in {"light", "dark"} else "auto"


def _html(template: Template, language: str, **parts: str) -> web.Response:
    response = web.Response(text=template.substitute(parts, language=language), content_type="text/html")
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.enable_compression()
    return response


def _embedded(json: bytes) -> str:
    """Write JSON so that it can stand in a page."""
    return json.decode().replace("<", "\\u003c")


def _plain(document: bytes, words: dict[str, Any], trouble: str) -> str:
    """Say the numbers for who has no script, or why there are none."""
    if trouble:
        return f"<p>{escape(words['trouble'][trouble])}</p>"
    month = msgspec.json.decode(document, type=Wall).month
    rows = (
        ("leads", str(month.lead_flow.total)),
        ("qualified", f"{month.qualified_leads.count} · {grouped(month.qualified_leads.value)} {month.currency}"),
        ("conversion", percent(month.conversion.ratio)),
        ("booked", f"{grouped(total(month.sales.booked.values()))} {month.currency}"),
        ("planned", f"{grouped(total(month.sales.planned.values()))} {month.currency}"),
    )
    lines = "".join(f"<tr><th scope=row>{escape(words[name])}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<p>{escape(words['no_script'])}</p><table><caption>{escape(month.month)}</caption>{lines}</table>"
