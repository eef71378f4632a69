"""The Grafana dashboards as classic JSON.

`python -m salesfx.dashboards` writes them into the folder `deploy/grafana/dashboards`. Names and definitions come from the
catalogue and the exporter.
"""

import json
from pathlib import Path

from salesfx.dashboards.health import health
from salesfx.dashboards.sales_wall import sales_wall
from salesfx.dashboards.salespeople import salespeople
from salesfx.dashboards.words import BULGARIAN, ENGLISH

FOLDER = Path("deploy/grafana/dashboards")


def documents() -> dict[str, str]:
    """Give every dashboard as text, by the name of its file."""
    dashboards = (sales_wall(ENGLISH), sales_wall(BULGARIAN), salespeople(), health())
    return {
        f"{dashboard['uid']}.json": json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"
        for dashboard in dashboards
    }


def write(folder: Path) -> None:
    """Write the dashboards.

    Raises:
        OSError: The folder cannot be written.

    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in documents().items():
        (folder / name).write_text(text, encoding="utf-8")
