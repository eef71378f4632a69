"""The tables and pictures of docs/performance.md and docs/lead-flow.md, made from the figures that are kept."""

import importlib.util
import json
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from bench.results import FOLDER

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
NAMES = (
    "throughput",
    "disorder",
    "latency",
    "growth",
    "recovery",
    "two_workers",
    "long_log",
    "archive",
    "explain",
    "walls",
)
"""Modules whose figures are shown; each is kept, and marked in the page, under its name."""
LEAD_FLOW_PAGE = PAGE.with_name("lead-flow.md")
LEAD_FLOW_NAMES = ("lead_flow",)
_NOT_YET = "*Not measured yet.*"


@click.command(short_help="Make the documentation's tables and pictures.")
@click.option("--check", is_flag=True, help="Write nothing; status 1 where the page's tables are others.")
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False), help="Only this page.")
@click.option("--results", type=click.Path(path_type=Path, file_okay=False), default=FOLDER, help="The kept figures.")
def command(page: Path | None, results: Path, *, check: bool) -> None:
    """Put what the kept figures say between the pages' markers, and draw the pictures beside them."""
    wrong = [_page(each, results, check=check) for each in ([page] if page else [PAGE, LEAD_FLOW_PAGE])]
    if check:
        raise SystemExit(1 if any(wrong) else 0)
    _draw((page or PAGE).parent / "images", results)


def names_on(page: Path) -> tuple[str, ...]:
    """Give the benchmarks that a page shows."""
    return LEAD_FLOW_NAMES if page.name == LEAD_FLOW_PAGE.name else NAMES


def _page(page: Path, results: Path, *, check: bool) -> list[str]:
    """Mend a page, or only look; give the parts that were others."""
    text = page.read_text(encoding="utf-8")
    parts = {name: generated(name, results) for name in names_on(page)}
    wrong = [name for name, part in parts.items() if marked(text, name) != part]
    if check:
        for name in wrong:
            click.echo(f"{page.name}: the part {name} is not what the kept figures say", err=True)
        return wrong
    for name, part in parts.items():
        text = replaced(text, name, part)
    page.write_text(text, encoding="utf-8")
    click.echo(f"{page.name}: changed: {', '.join(wrong) or 'nothing'}")
    return wrong


def generated(name: str, results: Path) -> str:
    """Write what the page is to say of one benchmark."""
    figures = kept(name, results)
    if figures is None:
        return _NOT_YET
    module = import_module(f"bench.{name}")
    picture = f"\n\n![{name.replace('_', ' ')}](images/{_picture(name)})" if _drawing(name, figures) else ""
    machine = ", ".join(
        form.format(figures["machine"][part]) for part, form in _TOLD.items() if part in figures["machine"]
    )
    return f"{module.shown(figures)}{picture}\n\nMeasured on {figures['day']}: {machine}."


_TOLD = {
    "processor": "{}",
    "memory": "{} of memory",
    "system": "{}",
    "Python": "Python {}",
    "Kafka": "Kafka {}",
    "Redis": "{}",
}
"""What is said of the machine, and how."""


def kept(name: str, results: Path) -> dict[str, Any] | None:
    """Read the figures of one benchmark; None where there are none."""
    file = results / f"{name}.json"
    if not file.exists():
        return None
    figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return figures


def marked(text: str, name: str) -> str:
    """Give what stands between a benchmark's markers."""
    return _found(text, name)[1]


def replaced(text: str, name: str, part: str) -> str:
    """Put something else between a benchmark's markers."""
    before, _, after = _found(text, name)
    return f"{before}{part}{after}"


def _found(text: str, name: str) -> tuple[str, str, str]:
    match = re.fullmatch(rf"(.*<!-- {name} -->\n)(.*?)(\n<!-- /{name} -->.*)", text, re.DOTALL)
    if match is None:
        raise click.ClickException(f"the page has no markers <!-- {name} --> and <!-- /{name} -->")
    return match[1], match[2], match[3]


def _picture(name: str) -> str:
    return f"performance-{name.replace('_', '-')}.png"


def _draw(folder: Path, results: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        click.echo("no pictures are drawn: pip install --group bench brings what draws them", err=True)
        return
    folder.mkdir(exist_ok=True)
    for name, figures in ((name, kept(name, results)) for name in NAMES):
        draw = _drawing(name, figures) if figures is not None else None
        if draw is not None:
            draw(figures, folder / _picture(name))
            click.echo(f"drew {_picture(name)}")


def _drawing(name: str, figures: Mapping[str, Any]) -> Any:
    """Give what draws a benchmark's figures; None where there is nothing to draw in them."""
    module: Mapping[str, Any] = vars(import_module(f"bench.{name}"))
    is_there = module.get("is_drawable", lambda _: True)(figures)
    return module.get("draw") if is_there else None
