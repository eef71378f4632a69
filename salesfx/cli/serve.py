"""`salesfx serve`: the HTTP server as a process of its own."""

import asyncio
import contextlib
import signal

import click
import msgspec

from salesfx.server import serve as serve_until_cancelled
from salesfx.settings import Settings


@click.command()
@click.option("--host", metavar="ADDRESS", help="Where to listen; by default http_host in the settings (127.0.0.1).")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="By default http_port in the settings (8000); 0: a free one."
)
@click.option("--public", is_flag=True, help="Show people's sales beyond loopback without a token.")
@click.pass_obj
def serve(settings: Settings, host: str | None, port: int | None, public: bool) -> None:
    """Serve /metrics for Prometheus, /api and the health checks."""
    changes = {
        "http_host": settings.http_host if host is None else host,
        "http_port": settings.http_port if port is None else port,
        "http_public": settings.http_public or public,
    }
    asyncio.run(_serve_until_signal(msgspec.structs.replace(settings, **changes)))


async def _serve_until_signal(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C, both of which are a clean end."""
    serving = asyncio.create_task(serve_until_cancelled(settings, ready=_tell_ready))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


def _tell_ready(url: str) -> None:
    click.echo(f"ready {url}")
