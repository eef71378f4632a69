"""Makes the pictures of README and docs: `make pictures` starts a demo, waits until it is live, and looks at it."""

import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from playwright.sync_api import Browser
from rich.console import Console
from rich.text import Text

from salesfx.reading import Month
from tests.browser import chromium
from tests.stack_process import StackProcess, running, salesfx

_IMAGES = Path(__file__).parent.parent / "docs" / "images"
_PAGES = {"wall.png": "/?lang=en&theme=light", "wall-bg.png": "/?lang=bg&theme=dark"}
_SILENT = "wall-silent.png"
_SILENCE = timedelta(minutes=25)
TARGETS = """[[targets]]
since = "2020-01"
leads = 1200
qualified_leads = 160
conversion = 0.3
booked_sales_value = 480000
"""
_SETTLES_MILLISECONDS = 8000
"""Until the largest leads are found."""


_COLUMNS = 86
_TERMINAL = """<!DOCTYPE html><meta charset="utf-8">
<style>body {{ margin: 0; background: #0e1729 }}
pre {{ display: inline-block; margin: 0; padding: 1.5em 2em; color: #e6ebf5; font: 16px/1.35 "DejaVu Sans Mono", monospace }}</style>
<pre>{code}</pre>"""


def main() -> None:
    """Make them."""
    with tempfile.TemporaryDirectory(prefix="salesfx-pictures-") as folder, chromium() as browser:
        config = Path(folder) / "salesfx.toml"
        config.write_text(TARGETS, encoding="utf-8")
        _look(Path(folder) / "data", config, browser)


def _look(data: Path, config: Path, browser: Browser) -> None:
    with running("demo", data, before=("--config", str(config))) as stack:
        stack.wait_said("live ones follow")
        page = browser.new_page(viewport={"width": 1920, "height": 1080}, color_scheme="light")
        for name, path in _PAGES.items():
            page.goto(stack.url + path)
            page.wait_for_timeout(_SETTLES_MILLISECONDS)
            page.screenshot(path=_IMAGES / name)
        page.goto(stack.url + _PAGES["wall.png"])
        stack.heartbeat("salesforce", datetime.now(UTC) - _SILENCE)
        page.wait_for_timeout(_SETTLES_MILLISECONDS)
        page.screenshot(path=_IMAGES / _SILENT)
        month = str(Month.of(datetime.now(ZoneInfo("Europe/Sofia")).date()).back(1))
        _show(stack, browser, "kpi.png", "kpi", "--month", month)
        _show(
            stack,
            browser,
            "explain.png",
            "explain",
            month,
            "booked_sales_value",
            "--category",
            "expansion",
            "--limit",
            "2",
        )
        stack.stop()


def _show(stack: StackProcess, browser: Browser, name: str, *command: str) -> None:
    """Take a picture of what a command prints on a terminal."""
    terminal = {"FORCE_COLOR": "1", "COLUMNS": str(_COLUMNS)}
    done = salesfx(*command, environ={**stack.environ, **terminal})
    assert done.status == 0, done.err
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=_COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text(f"$ salesfx {' '.join(command)}", "bold #7dd3fc"), Text.from_ansi(done.out), sep="\n")
    page = browser.new_page()
    page.set_content(console.export_html(inline_styles=True, code_format=_TERMINAL))
    page.locator("pre").screenshot(path=_IMAGES / name)
    page.close()


if __name__ == "__main__":
    main()
