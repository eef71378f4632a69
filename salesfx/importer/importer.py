"""From the rows of a CRM's export to events, after a map.

The same row always makes the same events, to the byte: ids, versions and contents come from the row, the map and the
moment of the export, and from nothing else.
"""

import hashlib
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from salesfx.decoder import decode
from salesfx.importer.errors import RowRefused
from salesfx.importer.map import EventRule, Kind, Map, Template, ValueTable, needed_fields
from salesfx.importer.rows import check_header
from salesfx.importer.written import Amounts, parse_date, parse_integer, parse_moment
from salesfx.refusal import Refused

_SHOWN_TEXT = 60


class Made(NamedTuple):
    """An event that a row made."""

    topic: str
    key: str
    """The entity's own id."""
    event: dict[str, Any]
    retracted: bool

    @property
    def value(self) -> bytes:
        """The event as JSON, ready to be published."""
        return msgspec.json.encode(self.event)


class Importer:
    """Turns the rows of one file into events.

    Remembers a fingerprint of each event's version (about 200 bytes), to find rows that contradict each other.

    Args:
        mapping: What the columns mean.
        header: The file's first row.
        exported_at: Aware moment at which the CRM wrote the file: the version of what has no `recorded_at` of its own.
        business_timezone: Time zone of times without an offset where the map names none.

    Raises:
        MapError: The map reads a column that the file lacks.

    """

    def __init__(self, mapping: Map, header: list[str], exported_at: datetime, business_timezone: str) -> None:
        self._map = mapping
        self._width = len(header)
        self._columns = check_header(header, mapping)
        self._exported_at = exported_at.astimezone(UTC).isoformat()
        self._zone: tzinfo = ZoneInfo(mapping.file.timezone or business_timezone)
        self._amounts = Amounts(mapping.file.decimal, mapping.file.thousands)
        self._seen: dict[bytes, tuple[int, bytes]] = {}

    def events(self, number: int, cells: list[str]) -> list[Made]:
        """Make a row's events: all of them, or none where one cannot be used.

        Args:
            number: The row's number, named where a later row contradicts it.
            cells: The row.

        Raises:
            RowRefused: The row cannot be used; the message says which column is wrong, and why.

        """
        self._check_cells(cells)
        row = {column: cells[place] for column, place in self._columns.items()}
        rules = self._map.rules
        names = self._stage_events(row)
        made = [self._make(rule, row) for rule in rules if names is None or rule.name in names]
        if names is not None:
            # What another stage would make and this one does not, an older export may have made: it is withdrawn.
            there = {(event.topic, event.key) for event in made}
            made += self._withdrawals([rule for rule in rules if rule.name not in names], row, there)
        self._refuse_contradictions(number, made)
        return made

    def _check_cells(self, cells: list[str]) -> None:
        if len(cells) != self._width:
            raise RowRefused(f"has {len(cells)} cells, the header has {self._width}")
        for cell in cells:
            if not cell.isascii() and any("\ud800" <= character <= "\udfff" for character in cell):
                raise RowRefused(
                    f"has a byte that is not {self._map.file.encoding}: set encoding under [file] of the map, "
                    'for example "windows-1251"'
                )

    def _stage_events(self, row: dict[str, str]) -> list[str] | None:
        stage = self._map.stage
        if stage is None:
            return None
        text = row[stage.column].strip()
        if text not in stage.events:
            raise RowRefused(f"{stage.column}: {_shown(text)} is none of the map's stages {', '.join(stage.events)}")
        return stage.events[text]

    def _make(self, rule: EventRule, row: dict[str, str]) -> Made:
        fields: dict[str, Any] = {}
        for field in rule.fields:
            value = self._value(rule, field, row)
            if value is not None:
                fields[field] = value
        for field in needed_fields(rule.event_type):
            if field not in fields:
                columns = " and ".join(rule.fields[field].columns) or "the map"
                raise RowRefused(f"{columns}: is blank, and {rule.place(field)} needs it")
        return self._finish(rule, fields)

    def _withdrawals(self, rules: list[EventRule], row: dict[str, str], there: set[tuple[str, str]]) -> list[Made]:
        made = []
        for rule in rules:
            entity = rule.event_type.entity
            key = self._value(rule, entity, row)
            if key is None or (rule.event_type.topic, str(key)) in there:
                continue
            there.add((rule.event_type.topic, str(key)))
            recorded_at = self._value(rule, "recorded_at", row) if "recorded_at" in rule.fields else None
            # Nothing but the version is read of a withdrawal; the moment it was learned of is one that is always there.
            fields = {entity: key, "occurred_at": recorded_at or self._exported_at, "retracted": True}
            if recorded_at is not None:
                fields["recorded_at"] = recorded_at
            made.append(self._finish(rule, fields))
        return made

    def _finish(self, rule: EventRule, fields: dict[str, Any]) -> Made:
        """Add version and id, and let the worker's own decoder judge the event."""
        topic = rule.event_type.topic
        fields.setdefault("recorded_at", self._exported_at)
        if self._map.revision:
            fields["revision"] = self._map.revision
        content = msgspec.json.encode([topic, fields], order="sorted")
        event = {"event_id": f"import-{hashlib.sha256(content).hexdigest()[:24]}", **fields}
        try:
            decoded = decode(topic, msgspec.json.encode(event))
        except Refused as refused:
            raise RowRefused(self._refusal(rule, refused)) from None
        return Made(topic, decoded.key, event, decoded.standing.retracted)

    def _refusal(self, rule: EventRule, refused: Refused) -> str:
        """Put the columns beside the fields that the decoder names."""
        fields = refused.detail.partition(":")[0].split(", ")
        columns = [column for field in fields if field in rule.fields for column in rule.fields[field].columns]
        where = f" (from {' and '.join(dict.fromkeys(columns))})" if columns else ""
        return f"event.{rule.name}: {refused.detail}{where}"

    def _value(self, rule: EventRule, field: str, row: dict[str, str]) -> str | int | None:
        source = rule.fields[field]
        text = _looked_up(source, row) if isinstance(source, ValueTable) else _filled(source, row)
        if text is None:
            return None
        try:
            return self._read(rule.kinds[field], text)
        except ValueError as error:
            columns = " and ".join(source.columns) or rule.place(field)
            raise RowRefused(f"{columns}: {_shown(text)} {error}") from None

    def _read(self, kind: Kind, text: str) -> str | int:
        if kind == "text":
            return text
        text = text.strip()
        if kind == "instant":
            return parse_moment(text, self._map.file.dates, self._zone).isoformat()
        if kind == "date":
            return parse_date(text, self._map.file.dates).isoformat()
        if kind == "amount":
            return self._amounts.parse(text)
        return parse_integer(text)

    def _refuse_contradictions(self, number: int, made: list[Made]) -> None:
        """Refuse a second content of one version: which of the two is right nobody could tell.

        Exports with a row for each product of a deal look like this, and would otherwise lose all rows but one.
        """
        ours: dict[bytes, tuple[int, bytes]] = {}
        for event in made:
            version, content = _fingerprint(event)
            first, known = ours.get(version) or self._seen.get(version, (number, content))
            if known != content:
                other = "in another event of the same row" if first == number else f"in row {first}"
                raise RowRefused(f"{event.topic} {_shown(event.key)} has another content than {other}")
            ours[version] = (first, content)
        self._seen.update(ours)


def _filled(template: Template, row: dict[str, str]) -> str | None:
    """Fill a template; it is absent where one of its columns is blank, so that no id is made of half its parts."""
    parts = [template.texts[0]]
    for column, text in zip(template.columns, template.texts[1:], strict=True):
        cell = row[column]
        if not cell.strip():
            return None
        parts += [cell, text]
    filled = "".join(parts)
    return filled if filled.strip() else None


def _looked_up(table: ValueTable, row: dict[str, str]) -> str | None:
    text = row[table.column].strip()
    found = table.values.get(text)
    if found is None:
        if not text:
            return None
        if table.otherwise is None:
            raise RowRefused(f"{table.column}: {_shown(text)} is none of the map's values {', '.join(table.values)}")
        found = table.otherwise
    return found if found.strip() else None


def _fingerprint(made: Made) -> tuple[bytes, bytes]:
    version = [made.topic, made.key, made.event["recorded_at"], made.event.get("revision", 0)]
    digest = hashlib.blake2b(msgspec.json.encode(version), digest_size=16).digest()
    # The id is a hash of the content.
    return digest, made.event["event_id"].encode()


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_TEXT else text[:_SHOWN_TEXT] + "...")
