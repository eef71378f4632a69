"""Who may see sales over HTTP.

A token, where one is set, is asked for everywhere. Without one, sales are shown on loopback only, and there only under
names that no stranger's website can take: a page of evil.example that lets its own name point to 127.0.0.1 would
otherwise read them through the browser of whoever runs salesfx.
"""

import hmac
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from salesfx.errors import NeedsAttentionError
from salesfx.settings import Settings

OPEN_TO_ALL = frozenset({"/livez", "/readyz"})
"""What shows no sales: health checks have no token."""


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

    def refusal(self, authorization: str, host: str) -> tuple[int, str] | None:
        """Tell why a request is refused.

        Args:
            authorization: Its Authorization header; empty where it has none.
            host: Its Host header.

        Returns:
            The status and a sentence; None where it is let through.

        """
        if self.token is not None and not _has_token(authorization, self.token):
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

    @property
    def middleware(self) -> Middleware:
        """Check every request but those for health checks, whether the page exists or not."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            refused = None
            if request.path not in OPEN_TO_ALL:
                refused = self.refusal(request.headers.get("Authorization", ""), request.headers.get("Host", ""))
            if refused is None:
                return await handler(request)
            status, sentence = refused
            headers = {"WWW-Authenticate": 'Bearer realm="salesfx"'} if status == 401 else {}  # noqa: PLR2004 - unauthorised
            return web.Response(
                body=msgspec.json.encode({"error": sentence}),
                status=status,
                content_type="application/json",
                headers=headers,
            )

        return check


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
