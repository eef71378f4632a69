"""The index page as a browser shows it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from salesfx.settings import load_settings
from salesfx.tables import RedisTables, connect
from salesfx.tables.store import Commit, Range

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


@pytest.fixture
def chromium(tmp_path: Path) -> list[str]:
    """The command that runs a headless browser with a profile of its own."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("there is no chromium on the PATH (Debian's chromium)")
    return [browser, *QUIET, f"--user-data-dir={tmp_path / 'profile'}"]


@pytest.fixture
def page(redis_url: str, kafka: str, namespace: str) -> Iterator[str]:
    """The address of a running `salesfx serve`."""
    environ = os.environ | {"SALESFX_REDIS": redis_url, "SALESFX_KAFKA": kafka, "SALESFX_NAMESPACE": namespace}
    command = [sys.executable, "-m", "salesfx", "serve", "--port", "0"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = re.search(r"http://\S+", process.stdout.readline())
        assert ready is not None
        yield ready[0]
        process.terminate()


async def test_a_browser_shows_this_month(page: str, chromium: list[str], redis_url: str, namespace: str) -> None:
    """The numbers of the tables stand on the page, with a link to the whole month."""
    today = datetime.now(ZoneInfo("Europe/Sofia")).strftime("%Y-%m-%d")
    tables = RedisTables(connect(redis_url), namespace)
    await tables.open(load_settings(environ={}).definitions)
    await tables.start_at("lead_created", 0, 0)
    await tables.commit(Commit([Range("lead_created", 0, 0, 1)], cells={(today, "leads|source=web"): 4711}))
    await tables.close()

    shown = subprocess.run([*chromium, "--dump-dom", page], capture_output=True, text=True, check=True, timeout=120)  # noqa: ASYNC221
    text = re.sub(r"<[^>]+>|\s+", " ", shown.stdout)
    assert re.search(r"4\W?711\s+new leads", text), text
    assert f"/api/months/{today[:7]}" in text


def test_the_page_can_be_seen(page: str, chromium: list[str], tmp_path: Path) -> None:
    """A browser draws something, also before there are any tables."""
    picture = tmp_path / "page.png"
    subprocess.run(
        [*chromium, "--window-size=400,900", f"--screenshot={picture}", page],
        capture_output=True,
        check=True,
        timeout=120,
    )
    blank = tmp_path / "blank.png"
    subprocess.run(
        [*chromium, "--window-size=400,900", f"--screenshot={blank}", "about:blank"],
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert picture.stat().st_size > 3 * blank.stat().st_size
