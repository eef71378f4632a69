"""Makes the pictures of README and docs: `make pictures` starts a demo, waits until it is live, and looks at it."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Browser

from tests.browser import chromium
from tests.stack_process import running

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
        stack.stop()


if __name__ == "__main__":
    main()
