"""The map: what the columns of a CRM's export mean. `docs/import.md` describes it for those who write one."""

import re
import tomllib
import typing
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from salesfx.events import EVENT_TYPES, CrmEvent
from salesfx.importer.errors import MapError
from salesfx.importer.written import Dates

Kind = Literal["instant", "date", "amount", "integer", "text"]
_KINDS: tuple[tuple[type, Kind], ...] = (
    (datetime, "instant"),
    (date, "date"),
    (Decimal, "amount"),
    (int, "integer"),
)
_OURS = frozenset({"event_id", "revision", "retracted"})
"""Fields that the import fills by itself."""
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class FileFormat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[file]`: how the file is written."""

    encoding: str = "utf-8"
    """A Python codec's name. A byte order mark in front of UTF-8 is skipped."""
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    dates: Dates = "iso"
    timezone: str | None = None
    """Time zone of times without an offset; None is the business time zone of the settings."""
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ",", ".", " ", "'"] = ""


class StageRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[stage]`: which events a row makes, by the text in one column."""

    column: str
    events: Annotated[dict[str, list[str]], Meta(min_length=1)]


class ValueTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A field whose value is looked up by a column's text."""

    column: str
    values: Annotated[dict[str, str], Meta(min_length=1)]
    otherwise: str | None = None
    """Value for every other text; None refuses the row."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns it reads."""
        return (self.column,)


class Template(msgspec.Struct, frozen=True):
    """Text with `{column}` in it; one without is a constant. Braces themselves are written twice."""

    texts: tuple[str, ...]
    """One more than there are columns: what stands before, between and after them."""
    columns: tuple[str, ...]

    @classmethod
    def parse(cls, written: str) -> "Template":
        """Read a template.

        Raises:
            ValueError: A brace stands alone, or the name between them is empty.

        """
        texts, columns, start = [""], [], 0
        for match in _PLACE.finditer(written):
            texts[-1] += written[start : match.start()]
            start = match.end()
            if match[0] in {"{{", "}}"}:
                texts[-1] += match[0][0]
            elif match[1] is None or not match[1].strip():
                raise ValueError(f"{written!r} has a brace without a column's name; a brace itself is written twice")
            else:
                columns.append(match[1].strip())
                texts.append("")
        texts[-1] += written[start:]
        return cls(tuple(texts), tuple(columns))


class EventRule(msgspec.Struct, frozen=True, kw_only=True):
    """`[event.NAME]`: an event that a row can make."""

    name: str
    event_type: type[CrmEvent]
    fields: dict[str, Template | ValueTable]
    kinds: dict[str, Kind]
    """How the text of each field is to be read."""

    def place(self, field: str) -> str:
        """Name a field as it stands in the map."""
        return f"event.{self.name}.{field}"


class Map(msgspec.Struct, frozen=True, kw_only=True):
    """A whole map, checked."""

    file: FileFormat
    stage: StageRules | None
    rules: tuple[EventRule, ...]
    revision: int

    def columns(self) -> dict[str, str]:
        """Give every column that is read, with a place in the map that names it."""
        named = {self.stage.column: "stage.column"} if self.stage else {}
        for rule in self.rules:
            for field, source in rule.fields.items():
                for column in source.columns:
                    named.setdefault(column, rule.place(field))
        return named


class _Toml(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    event: Annotated[dict[str, dict[str, Any]], Meta(min_length=1)]
    file: FileFormat = FileFormat()
    stage: StageRules | None = None
    revision: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


def load_map(path: Path) -> Map:
    """Read a map from a TOML file.

    Raises:
        MapError: It cannot be read, or something in it is unknown or missing; the message names the file and the key.

    """
    try:
        return parse_map(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MapError(f"cannot read the map {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MapError(f"the map {path} is not UTF-8: {error}") from error
    except MapError as error:
        raise MapError(f"{path}: {error}") from None


def parse_map(text: str) -> Map:
    """Read a map.

    Raises:
        MapError: Something in it is unknown or missing; the message names the key.

    """
    try:
        toml = msgspec.convert(tomllib.loads(text), _Toml)
    except tomllib.TOMLDecodeError as error:
        raise MapError(f"not valid TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise MapError(str(error)) from None
    _check_file(toml.file)
    rules = tuple(_rule(name, written) for name, written in toml.event.items())
    if toml.stage is not None:
        _check_stage(toml.stage, {rule.name for rule in rules})
    return Map(file=toml.file, stage=toml.stage, rules=rules, revision=toml.revision)


def _check_file(file: FileFormat) -> None:
    try:
        "".encode(file.encoding)
    except (LookupError, ValueError):
        raise MapError(f"file.encoding: there is no encoding {file.encoding!r}") from None
    if file.delimiter in '"\r\n':
        raise MapError(f"file.delimiter: {file.delimiter!r} cannot separate columns")
    if file.timezone is not None:
        try:
            ZoneInfo(file.timezone)
        except (ValueError, OSError, ZoneInfoNotFoundError):
            raise MapError(
                f"file.timezone: there is no time zone {file.timezone!r}; write it like Europe/Sofia"
            ) from None
    if file.decimal == file.thousands:
        raise MapError(f"file.thousands: {file.thousands!r} is the decimal separator already")


def _check_stage(stage: StageRules, names: set[str]) -> None:
    used: set[str] = set()
    for text, makes in stage.events.items():
        for name in makes:
            if name not in names:
                raise MapError(f"stage.events.{text}: there is no [event.{name}]; there are {_listed(names)}")
        used.update(makes)
    if names - used:
        raise MapError(f"stage.events: no stage makes {_listed(names - used)}")


def _rule(name: str, written: Mapping[str, Any]) -> EventRule:
    topic = written.get("topic")
    event_type = EVENT_TYPES.get(topic) if isinstance(topic, str) else None
    if event_type is None:
        raise MapError(f"event.{name}.topic: {topic!r} is none of {', '.join(EVENT_TYPES)}")
    kinds = _kinds(event_type)
    fields: dict[str, Template | ValueTable] = {}
    for field, value in written.items():
        if field == "topic":
            continue
        if field not in kinds:
            ours = "; the import fills it" if field in _OURS else ""
            raise MapError(f"event.{name}.{field}: {topic} has no such field{ours}; there are {_listed(kinds)}")
        fields[field] = _source(f"event.{name}.{field}", value)
    for field in needed_fields(event_type):
        if field not in fields:
            raise MapError(f"event.{name}.{field}: is missing; every {topic} needs it")
    return EventRule(name=name, event_type=event_type, fields=fields, kinds=kinds)


def needed_fields(event_type: type[CrmEvent]) -> tuple[str, ...]:
    """Name the fields that an event of this type cannot do without, beside those that the import fills."""
    return (event_type.entity, "occurred_at", *event_type.needed)


def _source(place: str, value: Any) -> Template | ValueTable:
    try:
        source = msgspec.convert(value, str | int | ValueTable)
        return source if isinstance(source, ValueTable) else Template.parse(str(source))
    except ValueError as error:  # a ValidationError is one
        raise MapError(f"{place}: {error}") from None


def _kinds(event_type: type[CrmEvent]) -> dict[str, Kind]:
    hints = typing.get_type_hints(event_type)
    names = [field.name for field in msgspec.structs.fields(event_type) if field.name not in _OURS]
    return {name: _kind(hints[name]) for name in names}


def _kind(hint: Any) -> Kind:
    alternatives = typing.get_args(hint) or (hint,)
    return next((kind for python_type, kind in _KINDS if python_type in alternatives), "text")


def _listed(names: typing.Iterable[str]) -> str:
    return ", ".join(sorted(names))
