"""The parts of a Grafana dashboard in its classic JSON, as versions 10 to 13 read them.

Only what the dashboards here need. Each panel has a title, a unit, and a description that says what its number is.
"""

from collections.abc import Iterable, Mapping, Sequence
from string import ascii_uppercase
from typing import Any, NamedTuple

Json = dict[str, Any]

SCHEMA_VERSION = 39
"""Of Grafana 10.4: newer versions migrate from it, older ones read it as it is."""
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
"""Width of a dashboard."""
COUNT, MONEY = "locale", "locale"
"""Units of counts and of money: whole, with the digits grouped as the browser's language does. The currency is a setting,
and a unit cannot follow a variable: titles name it."""
RATIO, SECONDS, PER_SECOND, TIMES = "percentunit", "s", "reqps", "short"
NOTHING = "-"
"""Shown where there is no number."""
_NO_RATIO = {"type": "special", "options": {"match": "nan", "result": {"index": 0, "text": NOTHING}}}


class Box(NamedTuple):
    """Where a panel stands, in columns and rows."""

    x: int
    y: int
    width: int
    height: int


class Query(NamedTuple):
    """One query of a panel."""

    expression: str
    legend: str = ""
    """Name of each series; {{label}} stands for a label's value."""
    over_time: bool = False
    """Whether it is asked for the whole time range, else for its end only."""
    as_table: bool = False
    """Whether each series becomes a row, with a column for each label."""


class Look(NamedTuple):
    """How numbers are shown."""

    unit: str
    decimals: int | None = None
    color: str | None = None
    """One color for all; without it, one for each name."""
    mappings: Sequence[Json] = ()
    least: float | None = None
    """Where the axis begins."""


class Words(NamedTuple):
    """What a panel says of itself."""

    title: str
    description: str


def stat(words: Words, box: Box, query: Query, look: Look, *, changes: str = "", field: str = "") -> Json:
    """Make a panel of one number that fills its box.

    Args:
        words: Title and description.
        box: Its place.
        query: Of one series; of a table with two rows where `changes` is given.
        look: How the number is shown.
        changes: A column: the number is that of the last row by it, and the change from the first stands beside it.
        field: Name of the column that is shown, where it is not the number.

    """
    options = {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "auto",
        # Without a judgement: a month that has just begun is neither good nor bad.
        "percentChangeColorMode": "same_as_value",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": f"/^{field}$/" if field else "", "values": False},
        "showPercentChange": bool(changes),
        "textMode": "value",
        "wideLayout": True,
    }
    transformations = [_sorted_by(changes, descending=True)] if changes else []
    return _panel("stat", words, box, [query], look, options, transformations=transformations)


def bars_by_month(words: Words, box: Box, queries: Sequence[Query], look: Look, columns: Mapping[str, Json]) -> Json:
    """Make a panel with a bar for each month, from tables that have a column `month`.

    The months are labels of gauges, not the time of their samples: so the history is there at once, and is restated with
    the tables.

    Args:
        words: Title and description.
        box: Its place.
        queries: Tables; the numbers of the first stand in the column `Value`, or with several in `Value #A`, `Value #B`.
        look: How the numbers are shown.
        columns: Settings of columns by their names.

    """
    transformations = [{"id": "merge", "options": {}}] if len(queries) > 1 else []
    transformations += [_sorted_by("month"), _without("Time")]
    return _bars(words, box, queries, look, columns, transformations, stacked=False)


def stacked_bars_by_month(
    words: Words, box: Box, query: Query, look: Look, by: str, columns: Mapping[str, Json]
) -> Json:
    """Make a panel with a bar for each month, of a part for each value of a label.

    Args:
        words: Title and description.
        box: Its place.
        query: A table with the columns `month`, the label's and `Value`.
        look: How the numbers are shown.
        by: The label.
        columns: Settings of the parts by the label's values, in the order in which they are stacked; others follow these.

    """
    matrix = {"columnField": by, "rowField": "month", "valueField": "Value", "emptyValue": "null"}
    order = {name: place for place, name in enumerate((f"month\\{by}", *columns))}
    transformations = [
        _sorted_by("month"),
        {"id": "groupingToMatrix", "options": matrix},
        *([_organized(order=order)] if columns else []),
    ]
    return _bars(words, box, [query], look, columns, transformations, stacked=True)


def _bars(
    words: Words,
    box: Box,
    queries: Sequence[Query],
    look: Look,
    columns: Mapping[str, Json],
    transformations: Sequence[Json],
    *,
    stacked: bool,
) -> Json:
    options = {
        "barRadius": 0,
        "barWidth": 0.9,
        "fullHighlight": False,
        "groupWidth": 0.8,
        "legend": _legend(shown=stacked or len(queries) > 1),
        "orientation": "vertical",
        "showValue": "never",
        "stacking": "normal" if stacked else "none",
        "tooltip": {"mode": "multi", "sort": "none"},
        "xTickLabelRotation": 0,
        "xTickLabelSpacing": 100,
    }
    custom = {"fillOpacity": 85, "lineWidth": 0, "axisBorderShow": False, "axisGridShow": True}
    overrides = [_override(name, settings) for name, settings in columns.items()]
    return _panel("barchart", words, box, queries, look, options, custom, overrides, transformations)


def ranking(
    words: Words, box: Box, queries: Sequence[Query], look: Look, names: Mapping[str, str] | None = None
) -> Json:
    """Make a panel with a bar for each series, and its number.

    Args:
        words: Title and description.
        box: Its place.
        queries: Each asked for now.
        look: How the numbers are shown.
        names: What a series is called, where it is not called by its legend.

    """
    options = {
        "displayMode": "basic",
        "legend": _legend(shown=False),
        "maxVizHeight": 300,
        "minVizHeight": 16,
        "minVizWidth": 8,
        "namePlacement": "left",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showUnfilled": False,
        "sizing": "auto",
        "valueMode": "text",
    }
    overrides = [_override(name, {"displayName": shown}) for name, shown in (names or {}).items()]
    return _panel("bargauge", words, box, queries, look._replace(least=0), options, overrides=overrides)


def curves(words: Words, box: Box, queries: Sequence[Query], look: Look) -> Json:
    """Make a panel with a line for each series, over the time range."""
    options = {"legend": _legend(shown=True), "tooltip": {"mode": "multi", "sort": "desc"}}
    custom = {
        "drawStyle": "line",
        "fillOpacity": 10,
        "lineInterpolation": "linear",
        "lineWidth": 2,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "none"},
    }
    return _panel("timeseries", words, box, queries, look, options, custom)


def table(
    words: Words,
    box: Box,
    queries: Sequence[Query],
    look: Look,
    columns: Mapping[str, Json],
    *,
    sorted_by: str,
    descending: bool = False,
) -> Json:
    """Make a table: one row for each set of labels, one column for each query.

    Args:
        words: Title and description.
        box: Its place.
        queries: Tables with the same labels.
        look: How the numbers are shown.
        columns: Settings of columns by their names, in their order.
        sorted_by: Name of a column.
        descending: Whether the greatest comes first.

    """
    options = {
        "cellHeight": "lg",
        "showHeader": True,
    }
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": False, "inspect": False}
    transformations = [
        {"id": "merge", "options": {}},
        _organized(order={name: place for place, name in enumerate(columns)}, left_out=["Time"]),
        _sorted_by(sorted_by, descending=descending),
    ]
    overrides = [_override(name, settings) for name, settings in columns.items()]
    return _panel("table", words, box, queries, look, options, custom, overrides, transformations)


def row(title: str, y: int) -> Json:
    """Make a heading over the panels below it."""
    return {"type": "row", "title": title, "gridPos": _grid(Box(0, y, COLUMNS, 1)), "collapsed": False, "panels": []}


def fixed(color: str) -> Json:
    """Give the setting of a color."""
    return {"mode": "fixed", "fixedColor": color}


def text_for(texts: Mapping[str, tuple[str, str]]) -> Json:
    """Give a mapping that shows values as (text, color)."""
    options = {
        value: {"index": index, "text": text, "color": color}
        for index, (value, (text, color)) in enumerate(texts.items())
    }
    return {"type": "value", "options": options}


def _panel(
    kind: str,
    words: Words,
    box: Box,
    queries: Sequence[Query],
    look: Look,
    options: Json,
    custom: Json | None = None,
    overrides: Sequence[Json] = (),
    transformations: Sequence[Json] = (),
) -> Json:
    panel = {
        "type": kind,
        "title": words.title,
        "description": words.description,
        "gridPos": _grid(box),
        "datasource": DATASOURCE,
        "targets": [_target(query, ref) for query, ref in zip(queries, ascii_uppercase, strict=False)],
        "fieldConfig": {"defaults": _defaults(look, custom), "overrides": list(overrides)},
        "options": options,
    }
    if transformations:
        panel["transformations"] = list(transformations)
    return panel


def _target(query: Query, ref: str) -> Json:
    return {
        "refId": ref,
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": query.legend or "__auto",
        "format": "table" if query.as_table else "time_series",
        "instant": not query.over_time,
        "range": query.over_time,
    }


def _defaults(look: Look, custom: Json | None) -> Json:
    defaults: Json = {
        "unit": look.unit,
        "color": fixed(look.color) if look.color else {"mode": "palette-classic-by-name"},
        "mappings": list(look.mappings) or [_NO_RATIO],
        "noValue": NOTHING,
        "thresholds": {"mode": "absolute", "steps": [{"color": look.color or "text", "value": None}]},
    }
    if look.decimals is not None:
        defaults["decimals"] = look.decimals
    if look.least is not None:
        defaults["min"] = look.least
    return {**defaults, "custom": custom} if custom else defaults


def _override(name: str, settings: Json) -> Json:
    properties = [{"id": key, "value": value} for key, value in settings.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def _sorted_by(field: str, *, descending: bool = False) -> Json:
    return {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": field, "desc": descending}]}}


def _without(*fields: str) -> Json:
    return _organized(left_out=fields)


def _organized(*, order: Mapping[str, int] | None = None, left_out: Iterable[str] = ()) -> Json:
    excluded = dict.fromkeys(left_out, True)
    return {"id": "organize", "options": {"excludeByName": excluded, "indexByName": order or {}, "renameByName": {}}}


def _legend(*, shown: bool) -> Json:
    return {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": shown}


def _grid(box: Box) -> Json:
    return {"x": box.x, "y": box.y, "w": box.width, "h": box.height}


def datasource_variable(label: str) -> Json:
    """Make the choice of the data source; every panel and every other variable uses it."""
    return {
        "type": "datasource",
        "name": "datasource",
        "label": label,
        "query": "prometheus",
        "current": {"text": "default", "value": "default"},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "refresh": 1,
        "regex": "",
    }


def label_variable(name: str, label: str, expression: str, *, hidden: bool = False) -> Json:
    """Make a choice of one value of a label, as Prometheus knows them."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "definition": expression,
        "query": {"query": expression, "refId": f"variable-{name}"},
        "current": {},
        "hide": 2 if hidden else 0,
        "includeAll": False,
        "multi": False,
        # With every change of the time range.
        "refresh": 2,
        "regex": "",
        "sort": 1,
    }


def choice_variable(name: str, label: str, choices: Mapping[str, str]) -> Json:
    """Make a choice among given values, the first one at the beginning.

    Args:
        name: For queries.
        label: For people.
        choices: What each value is called, by value.

    """
    options = [
        {"text": text, "value": value, "selected": index == 0} for index, (value, text) in enumerate(choices.items())
    ]
    return {
        "type": "custom",
        "name": name,
        "label": label,
        "query": ",".join(f"{text} : {value}" for value, text in choices.items()),
        "current": {"text": options[0]["text"], "value": options[0]["value"]},
        "options": options,
        "hide": 0,
        "includeAll": False,
        "multi": False,
    }


def dashboard(
    uid: str, words: Words, variables: Sequence[Json], panels: Sequence[Json], *, hours: int, others: str
) -> Json:
    """Put a dashboard together.

    Args:
        uid: Its name in addresses; it never changes.
        words: Its own title and description.
        variables: What can be chosen.
        panels: In the order in which they are read.
        hours: The time range.
        others: Title of the links to the other dashboards.

    """
    link = {
        "type": "dashboards",
        "title": others,
        "tags": ["salesfx"],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": False,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }
    return {
        "uid": uid,
        "title": words.title,
        "description": words.description,
        "tags": ["salesfx"],
        "editable": False,
        "schemaVersion": SCHEMA_VERSION,
        "timezone": "browser",
        "weekStart": "monday",
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": f"now-{hours}h", "to": "now"},
        "timepicker": {},
        "annotations": {"list": []},
        "links": [link],
        "templating": {"list": list(variables)},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, 1)],
    }
