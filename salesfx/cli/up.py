"""`salesfx up`."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import click

from salesfx.local.stack import LocalStack
from salesfx.settings import Settings

DEFAULT_DATA = Path("salesfx-data")
_CHECK_SECONDS = 0.5
_GRACE_SECONDS = 10.0
_AGAIN_SECONDS = 0.02


@click.command(short_help="Start Kafka, Redis, a worker and the HTTP server here.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DATA,
    show_default=True,
    help="Folder of everything that is kept.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="HTTP port; default: the settings', or a free one.")
@click.pass_obj
def up(settings: Settings, data: Path, port: int | None) -> None:
    """Start Kafka, Redis, a worker and the HTTP server on this machine, from packages; data stays in the folder."""
    run_stack(settings, data, port)


def run_stack(
    settings: Settings,
    data: Path,
    port: int | None,
    meanwhile: Callable[[LocalStack, threading.Event], threading.Thread] | None = None,
) -> None:
    """Run a local stack until Ctrl-C or SIGTERM.

    Args:
        settings: What is in force.
        data: The stack's folder.
        port: HTTP port.
        meanwhile: Called when all is ready; gives a thread that goes on, and ends when the event is set.

    Raises:
        SalesfxError: Something does not start, or cannot go on.

    """
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        if not stopping.is_set():
            stopping.set()
            raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    _come_again(stopping)
    config_file = click.get_current_context().find_root().params.get("config_file")
    stack = LocalStack(data, settings, port=port, progress=_say, config_file=config_file)
    background: threading.Thread | None = None
    try:
        stack.start()
        click.echo(f"ready {stack.url}")
        click.echo(f"  kafka {stack.settings.kafka}")
        click.echo(f"  redis {stack.redis_address} (password in {data / 'redis' / 'password'})")
        click.echo(f"  data  {data.resolve()} - Ctrl-C stops all of it, and it stays")
        click.echo("for salesfx in another terminal:")
        click.echo(f"  export SALESFX_KAFKA={stack.settings.kafka} SALESFX_REDIS_FILE={stack.redis_url_file}")
        if meanwhile is not None:
            background = meanwhile(stack, stopping)
        while not stopping.is_set():
            stack.check()
            stopping.wait(_CHECK_SECONDS)
    except KeyboardInterrupt:
        _say("stopping")
    finally:
        stopping.set()
        if background is not None:
            background.join(_GRACE_SECONDS)
        stack.stop()


def _come_again(stopping: threading.Event) -> None:
    """Let a Ctrl-C that came while a destructor ran, where Python drops what is raised, come again a moment later."""
    usual = sys.unraisablehook

    def hook(dropped: "sys.UnraisableHookArgs") -> None:
        if dropped.exc_type is not KeyboardInterrupt:
            usual(dropped)
            return
        stopping.clear()
        threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGINT)).start()

    sys.unraisablehook = hook


def _say(line: str) -> None:
    click.echo(line, err=True)
