"""The Grafana dashboards: what each panel must have, and that the committed files are what the module makes."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from salesfx.dashboards import FOLDER, documents
from salesfx.dashboards.queries import exported, numbers, series
from salesfx.dashboards.words import BULGARIAN, ENGLISH

ROOT = Path(__file__).parents[2]
Json = dict[str, Any]
DASHBOARDS: dict[str, Json] = {name: json.loads(text) for name, text in documents().items()}
PANELS = [
    pytest.param(name, panel, id=f"{name}-{panel['id']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
]
UNITS = {"locale", "percentunit", "s", "reqps", "short", "string"}
_PROMETHEUS_OWN = {"up"}


def faults(panel: Json) -> Iterator[str]:
    """Find what a panel lacks."""
    if not panel.get("title"):
        yield "no title"
    if not panel.get("description", "").endswith("."):
        yield "no description that is a sentence"
    if panel["fieldConfig"]["defaults"].get("unit") not in UNITS:
        yield "no unit"
    if not panel.get("targets"):
        yield "no query"
    for part in (panel, *panel.get("targets", [])):
        if part.get("datasource") != {"type": "prometheus", "uid": "${datasource}"}:
            yield "a data source that cannot be chosen"
    for target in panel.get("targets", []):
        for name in selected(target["expr"]):
            if name not in exported() and name not in recorded() and name not in _PROMETHEUS_OWN:
                yield f"{name}, which nobody exports or records"


def selected(expression: str) -> set[str]:
    """Give the names of the series that a query selects, each by the job that is chosen."""
    return set(re.findall(r'([a-z_:0-9]+)\{job=~"\$job"', expression))


def recorded() -> set[str]:
    """Give the names that the recording rules make."""
    rules = yaml.safe_load((ROOT / "prometheus/recording.rules.yml").read_text(encoding="utf-8"))
    return {rule["record"] for group in rules["groups"] for rule in group["rules"]}


def test_the_committed_files_are_what_the_module_makes() -> None:
    """Nobody edits them by hand, and none is left over; `make dashboards` writes them."""
    committed = {file.name: file.read_text(encoding="utf-8") for file in (ROOT / FOLDER).iterdir()}
    assert committed == documents()


@pytest.mark.parametrize(("name", "panel"), PANELS)
def test_a_panel_says_what_it_shows(name: str, panel: Json) -> None:
    """Title, description, unit, a data source that can be chosen, and only series that there are."""
    assert list(faults(panel)) == [], name


@pytest.mark.parametrize(
    "wrong",
    [
        {"title": ""},
        {"description": ""},
        {"fieldConfig": {"defaults": {}}},
        {"targets": []},
        {"datasource": {"type": "prometheus", "uid": "salesfx-prometheus"}},
        {"targets": [{"datasource": {"type": "prometheus", "uid": "${datasource}"}, "expr": 'x{job=~"$job"}'}]},
    ],
)
def test_a_fault_of_a_panel_is_found(wrong: Json) -> None:
    """Each check finds its fault when it is put in."""
    assert list(faults({**DASHBOARDS["salesfx-wall.json"]["panels"][0], **wrong})) != []


def test_every_selector_is_bound_to_the_chosen_job() -> None:
    """Two teams' numbers are never mixed: no series is selected without the job."""
    for dashboard in DASHBOARDS.values():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                bare = re.findall(r"\b((?:salesfx_|topic:|months_ago:)[a-z_:0-9]+|up)(?![a-z_:0-9{])", target["expr"])
                assert bare == [], target["expr"]


def test_dashboards_are_found_and_left_alone() -> None:
    """Each has an address of its own that never changes, its file's name, and cannot be edited."""
    uids = [dashboard["uid"] for dashboard in DASHBOARDS.values()]
    assert sorted(uids) == ["salesfx-health", "salesfx-salespeople", "salesfx-wall", "salesfx-wall-bg"]
    for name, dashboard in DASHBOARDS.items():
        assert name == f"{dashboard['uid']}.json"
        assert dashboard["editable"] is False
        assert dashboard["templating"]["list"][0]["name"] == "datasource"
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_panels_do_not_overlap() -> None:
    """Each place of the grid belongs to one panel."""
    for name, dashboard in DASHBOARDS.items():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            grid = panel["gridPos"]
            places = {
                (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
            }
            assert not places & taken, f"{name}: {panel['title']}"
            assert max(x for x, _ in places) < 24, f"{name}: {panel['title']}"
            taken |= places


def test_both_walls_are_the_same_but_for_the_words() -> None:
    """Queries and places do not depend on the language, and every word is translated."""

    def shape(words: str) -> list[tuple[Any, ...]]:
        panels = DASHBOARDS[words]["panels"]
        return [
            (panel["type"], panel["gridPos"], len(panel["targets"]), panel["fieldConfig"]["defaults"]["unit"])
            for panel in panels
        ]

    assert shape("salesfx-wall.json") == shape("salesfx-wall-bg.json")
    for field, english, bulgarian in zip(ENGLISH._fields, ENGLISH, BULGARIAN, strict=True):
        if isinstance(english, Mapping) and isinstance(bulgarian, Mapping):
            assert english.keys() == bulgarian.keys(), field
            assert not set(english.values()) & set(bulgarian.values()), field
        else:
            assert english != bulgarian, field


def test_a_name_that_nobody_exports_is_refused() -> None:
    """A typing error in a query is found when the dashboards are made."""
    with pytest.raises(KeyError):
        series("salesfx_lead")
    with pytest.raises(KeyError):
        numbers("lead")


def test_the_definitions_are_the_catalogues() -> None:
    """What a panel of the wall says is what the exporter says."""
    top = DASHBOARDS["salesfx-wall.json"]["panels"][0]
    assert exported()["salesfx_leads"].startswith(top["description"].partition(".")[0])
