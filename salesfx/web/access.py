"""Who may see sales over HTTP.

A token, where one is set, is asked for everywhere. Without one, sales are shown on loopback only, and there only under
names that no stranger's website can take: a page of evil.example that lets its own name point to 127.0.0.1 would
otherwise read them through the browser of whoever runs salesfx.
"""

import hmac
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from salesfx.errors import NeedsAttentionError
from salesfx.settings import Settings

OPEN_TO_ALL = frozenset({"/livez", "/readyz"})
"""What shows no sales: health checks have no token."""
ENTRANCE = "/enter"
"""Where a browser hands in the token, and gets a cookie for it: a token in an address would end in logs."""
COOKIE = "salesfx_access"
_COOKIE_SECONDS = 400 * 24 * 3600
"""As long as browsers keep one at most: a screen on a wall has nobody who types."""
_MOST_FORM_BYTES = 4096

AskPage = Callable[[web.Request, bool], Awaitable[web.StreamResponse]]
"""Makes the page that asks for the token; the second argument says whether a wrong one was handed in."""


class PublicWithoutTokenError(NeedsAttentionError):
    """Sales would be shown to everybody who reaches the port."""


class Access(NamedTuple):
    """The rules for one server."""

    token: bytes | None
    local_names_only: bool
    """Whether the Host header must be an IP address or localhost."""

    @classmethod
    def of(cls, settings: Settings) -> "Access":
        """Work the rules out.

        Raises:
            PublicWithoutTokenError: It would listen beyond loopback without a token, and `http_public` is not set.

        """
        if settings.http_token:
            return cls(settings.http_token.encode(), local_names_only=False)
        if is_loopback(settings.http_host):
            return cls(None, local_names_only=True)
        if settings.http_public:
            return cls(None, local_names_only=False)
        raise PublicWithoutTokenError(
            f"{settings.http_host or 'every address'} is beyond loopback, and whoever reaches it would see people's sales. Set a "
            "token (SALESFX_HTTP_TOKEN, or SALESFX_HTTP_TOKEN_FILE) that Prometheus and others send, or, where everybody may "
            "see them, --public or SALESFX_HTTP_PUBLIC=true."
        )

    def refusal(self, authorization: str, host: str, cookie: str = "") -> tuple[int, str] | None:
        """Tell why a request is refused.

        Args:
            authorization: Its Authorization header; empty where it has none.
            host: Its Host header.
            cookie: What a browser got at the entrance; empty where it has none.

        Returns:
            The status and a sentence; None where it is let through.

        """
        if self.token is not None and not (_has_token(authorization, self.token) or self._opens(cookie)):
            return (
                401,
                "This shows people's sales: send the server's token, in a header `Authorization: Bearer <token>`.",
            )
        if self.local_names_only and not _is_local_name(host):
            return 403, (
                "Without a token this server answers only to localhost and to IP addresses. To reach it under another name, "
                "set SALESFX_HTTP_TOKEN and send the token."
            )
        return None

    async def enter(self, request: web.Request, ask: AskPage) -> web.StreamResponse:
        """Take the token that a browser hands in, and give it a cookie and the way to the wall.

        The cookie is not the token, and no script can read it. It opens until the token is another.
        """
        body = await request.content.read(_MOST_FORM_BYTES)
        sent = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()
        if self.token is not None and not hmac.compare_digest(sent.encode(), self.token):
            return await ask(request, True)
        # The wall that was asked for: this query goes nowhere but to our own page.
        response = web.Response(status=303, headers={"Location": f"/?{request.rel_url.raw_query_string}".rstrip("?")})
        if self.token is not None:
            response.set_cookie(
                COOKIE,
                _opener(self.token),
                max_age=_COOKIE_SECONDS,
                path="/",
                httponly=True,
                samesite="Strict",
                # Said by the proxy that speaks TLS for us; whoever forges it only keeps the browser from sending it in clear.
                secure=request.headers.get("X-Forwarded-Proto") == "https",
            )
        return response

    def _opens(self, cookie: str) -> bool:
        return self.token is not None and hmac.compare_digest(cookie.encode(), _opener(self.token).encode())

    def middleware(self, open_paths: frozenset[str], ask: AskPage) -> Middleware:
        """Check every request but those for what shows no sales, whether the page exists or not.

        Args:
            open_paths: What else shows none: the files of the pages.
            ask: What a browser is shown that asks for a page without the token.

        """

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            refused = None
            if request.path not in OPEN_TO_ALL:
                host = request.headers.get("Host", "")
                refused = self.refusal(request.headers.get("Authorization", ""), host, request.cookies.get(COOKIE, ""))
            if refused is None:
                return await handler(request)
            status, sentence = refused
            if status == 401:  # noqa: PLR2004 - unauthorised
                if request.path == ENTRANCE or request.path in open_paths:
                    return await handler(request)
                if "text/html" in request.headers.get("Accept", ""):
                    return await ask(request, False)
            headers = {"WWW-Authenticate": 'Bearer realm="salesfx"'} if status == 401 else {}  # noqa: PLR2004 - unauthorised
            return web.Response(
                body=msgspec.json.encode({"error": sentence}),
                status=status,
                content_type="application/json",
                headers=headers,
            )

        return check


def _opener(token: bytes) -> str:
    return hmac.new(token, b"salesfx: a browser that has handed in the token", "sha256").hexdigest()


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach what listens there; an unknown name is taken to be reachable."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _has_token(authorization: str, token: bytes) -> bool:
    scheme, _, sent = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(sent.strip().encode("utf-8", "surrogateescape"), token)


def _is_local_name(host: str) -> bool:
    """Tell whether a Host header is an IP address or localhost, with or without a port."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
