"""The contract of the events as documents: JSON Schemas, an AsyncAPI document, and examples of every kind.

`python -m salesfx.schemas` writes them into the folder `schemas`. All of it is derived from `salesfx.events`, so that the
fields are named in one place.
"""

import json
import sys
import typing
from pathlib import Path
from typing import Any

import msgspec

from salesfx.dead_letters.letter import DROPPED, REPLAYED
from salesfx.events import (
    DEAD_LETTERS,
    EVENT_TYPES,
    MAX_MESSAGE,
    MAX_NESTING,
    CrmEvent,
    DealClosed,
    LeadCreated,
    QuoteSent,
)
from salesfx.refusal import Reason

CONTRACT_VERSION = "1.0.0"
"""Version of the events, apart from the program's: goes up when a field comes or changes."""
_KEYS = {
    LeadCreated.topic: "The lead_id",
    QuoteSent.topic: "The lead_id, so that one worker has all of a lead's events; the quote_id where it has none",
    DealClosed.topic: "The lead_id, so that one worker has all of a lead's events; else the quote_id, else the deal_id",
}
_KAFKA_BINDING = "0.5.0"
_BOUNDS = (
    f"At most {MAX_MESSAGE} bytes of JSON in UTF-8, nested at most {MAX_NESTING} deep. Unknown fields are ignored; null "
    "and blank are the same as absent. source and salesperson are measured after trimming and NFC."
)
_CLOUDEVENTS = (
    "The value may also be a CloudEvents 1.0 envelope: structured (a JSON object with specversion, and the event in data or "
    "data_base64), or binary (the event is the value, the attributes are the headers ce_specversion, ce_id, ce_time and so "
    "on). Where the event lacks event_id or occurred_at, the envelope's id and time serve; no other attribute is read."
)
_ABSENT = {"$ref": "#/$defs/absent"}
_ABSENT_DEFINITION = {
    "description": "Null and blank are the same as absent.",
    "type": ["string", "null"],
    "pattern": r"^\s*$",
}

EXAMPLES: dict[str, dict[str, dict[str, Any]]] = {
    "lead_created": {
        "lead": {
            "event_id": "4711-1",
            "occurred_at": "2026-10-05T09:30:00+03:00",
            "lead_id": "L-4711",
            "source": "web",
            "salesperson": "Maria Ivanova",
        },
        "correction": {
            "event_id": "4711-2",
            "occurred_at": "2026-10-05T09:30:00+03:00",
            "recorded_at": "2026-10-06T08:00:00Z",
            "revision": 1,
            "lead_id": "L-4711",
            "source": "fair",
            "salesperson": "Maria Ivanova",
            "account_id": "A-7",
        },
        "retraction": {
            "event_id": "4712-2",
            "occurred_at": "2026-10-05T10:00:00+03:00",
            "revision": 1,
            "retracted": True,
            "lead_id": "L-4712",
        },
        "cloudevent": {
            "specversion": "1.0",
            "type": "com.example.crm.lead_created",
            "source": "/crm",
            "id": "4713-1",
            "time": "2026-10-05T11:15:00+03:00",
            "datacontenttype": "application/json",
            "data": {"lead_id": "L-4713", "source": "referral"},
        },
    },
    "quote_sent": {
        "quote": {
            "event_id": "q82-1",
            "occurred_at": "2026-10-12T14:00:00+03:00",
            "quote_id": "Q-82",
            "lead_id": "L-4711",
            "salesperson": "Maria Ivanova",
            "amount": "1200.00",
            "currency": "EUR",
            "need": "a CRM for the branch in Varna",
            "expected_close_on": "2026-11-20",
        },
        "bulk mail": {
            "event_id": "q83-1",
            "occurred_at": "2026-10-12T15:00:00+03:00",
            "quote_id": "Q-83",
            "lead_id": "L-4713",
            "amount": 900,
            "currency": "EUR",
            "recipient_count": 50,
        },
        "retraction": {
            "event_id": "q83-2",
            "occurred_at": "2026-10-12T15:00:00+03:00",
            "revision": 1,
            "retracted": True,
            "quote_id": "Q-83",
        },
    },
    "deal_closed": {
        "won": {
            "event_id": "d19-1",
            "occurred_at": "2026-11-18T16:45:00+02:00",
            "deal_id": "D-19",
            "lead_id": "L-4711",
            "account_id": "A-7",
            "quote_id": "Q-82",
            "salesperson": "Maria Ivanova",
            "outcome": "won",
            "amount": "1150.00",
            "currency": "EUR",
            "contract_ends_on": "2027-11-18",
            "category": "new_account",
        },
        "lost": {
            "event_id": "d20-1",
            "occurred_at": "2026-11-19T10:00:00+02:00",
            "deal_id": "D-20",
            "lead_id": "L-4713",
            "outcome": "lost",
        },
        "re-opened": {
            "event_id": "d20-2",
            "occurred_at": "2026-11-23T10:00:00+02:00",
            "revision": 1,
            "deal_id": "D-20",
            "lead_id": "L-4713",
            "outcome": "open",
        },
        "retraction": {
            "event_id": "d20-3",
            "occurred_at": "2026-11-23T10:00:00+02:00",
            "revision": 2,
            "retracted": True,
            "deal_id": "D-20",
        },
    },
}
"""An event of every kind, by topic and name."""


def json_schema(event_type: type[CrmEvent]) -> dict[str, Any]:
    """Give the JSON Schema (2020-12) of one topic's events.

    It accepts what the decoder accepts, save where a schema has no words for it: there it is the narrower one (a name is
    measured untrimmed), or `format` has the last word (30 February).
    """
    read_always = {field.name for field in msgspec.structs.fields(CrmEvent)} | {event_type.entity}
    needed_always = ("event_id", "occurred_at", event_type.entity)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:salesfx:schema:{event_type.topic}",
        "title": event_type.topic,
        "description": f"{event_type.__doc__} {_BOUNDS}",
        "type": "object",
        "properties": _properties(event_type, read_always, needed_always),
        "required": list(needed_always),
        "if": {"properties": {"retracted": {"const": True}}, "required": ["retracted"]},
        "then": {"description": "The entity is withdrawn; no other field is read."},
        "else": _content(event_type, read_always),
        "additionalProperties": True,
        "$defs": {"absent": _ABSENT_DEFINITION},
        "examples": [event for event in EXAMPLES[event_type.topic].values() if "specversion" not in event],
    }


def _content(event_type: type[CrmEvent], read_already: set[str]) -> dict[str, Any]:
    """Give the schema of what is read unless the entity is retracted."""
    fields = {field.name for field in msgspec.structs.fields(event_type)} - read_already
    where_won = DealClosed.needed_where_won if issubclass(event_type, DealClosed) else ()
    content: dict[str, Any] = {"properties": _properties(event_type, fields - set(where_won), event_type.needed)}
    if event_type.needed:
        content["required"] = list(event_type.needed)
    if where_won:
        content["if"] = {"properties": {"outcome": {"const": "won"}}, "required": ["outcome"]}
        content["then"] = {
            "properties": _properties(event_type, set(where_won), where_won),
            "required": list(where_won),
        }
    return content


def _properties(event_type: type[CrmEvent], names: set[str], needed: tuple[str, ...]) -> dict[str, Any]:
    hints = typing.get_type_hints(event_type, include_extras=True)
    return {
        field.name: _property(hints[field.name], needed=field.name in needed)
        for field in msgspec.structs.fields(event_type)
        if field.name in names
    }


def _property(annotation: Any, *, needed: bool) -> dict[str, Any]:
    schema = msgspec.json.schema(annotation)
    schema = dict(next((inner for inner in schema.get("anyOf", ()) if inner.get("type") != "null"), schema))
    if schema.get("format") == "decimal":
        del schema["format"]
        schema["type"] = ["string", "number"]
    notes: dict[str, Any] = {name: schema.pop(name) for name in ("description", "examples") if name in schema}
    return {**notes, **schema} if needed else {**notes, "anyOf": [schema, _ABSENT]}


def asyncapi() -> dict[str, Any]:
    """Give the AsyncAPI 3.0 document: the topics that salesfx reads, and the one to which it writes."""
    channels = {topic: _event_channel(event_type) for topic, event_type in EVENT_TYPES.items()}
    messages = {topic: _event_message(event_type) for topic, event_type in EVENT_TYPES.items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "salesfx events",
            "version": CONTRACT_VERSION,
            "description": "CRMs publish events to three Kafka topics. salesfx makes sales KPIs of them, and puts those that "
            "it cannot use into a topic for dead letters.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            **channels,
            DEAD_LETTERS: _channel(
                DEAD_LETTERS,
                "Events that could not be used, and what was done with them.",
                "dead_letter",
                "dead_letter_mark",
            ),
        },
        "operations": {
            **{f"receive_{topic}": _operation("receive", topic, topic) for topic in EVENT_TYPES},
            "send_dead_letter": _operation("send", DEAD_LETTERS, "dead_letter"),
        },
        "components": {
            "messages": {**messages, "dead_letter": _dead_letter(), "dead_letter_mark": _dead_letter_mark()}
        },
    }


def _event_channel(event_type: type[CrmEvent]) -> dict[str, Any]:
    return _channel(event_type.topic, event_type.__doc__ or "", event_type.topic)


def _channel(topic: str, description: str, *messages: str) -> dict[str, Any]:
    return {
        "address": topic,
        "description": description,
        "messages": {message: {"$ref": f"#/components/messages/{message}"} for message in messages},
        "bindings": {
            "kafka": {
                "topic": topic,
                # The log is the source of truth: nothing may expire.
                "topicConfiguration": {"cleanup.policy": ["delete"], "retention.ms": -1},
                "bindingVersion": _KAFKA_BINDING,
            }
        },
    }


def _event_message(event_type: type[CrmEvent]) -> dict[str, Any]:
    topic = event_type.topic
    return {
        "name": topic,
        "title": topic,
        "summary": event_type.__doc__,
        "description": f"{_BOUNDS} {_CLOUDEVENTS}",
        "contentType": "application/json",
        "payload": {"$ref": f"./{topic}.schema.json"},
        "bindings": {"kafka": _key(f"{_KEYS[topic]}.")},
        "examples": [{"name": name, "payload": payload} for name, payload in EXAMPLES[topic].items()],
    }


def _dead_letter() -> dict[str, Any]:
    number = {"type": "string", "pattern": "^[0-9]+$"}
    return {
        "name": "dead_letter",
        "title": "dead_letter",
        "summary": "An event that could not be used, as it came, and why.",
        "description": "The headers named here are text in UTF-8, the event's own key and headers are what they were. Once the "
        "cause is gone, the event can be published to its topic again, and counts.",
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "properties": {
                "reason": {"type": "string", "enum": list(Reason), "description": "Slug of the refusal."},
                "detail": {"type": "string", "description": "Which field is wrong and why, in words."},
                "topic": {
                    "type": "string",
                    "description": "The topic in which the event lies, with its prefix if it has one.",
                },
                "partition": {**number, "description": "Its partition there, in decimal."},
                "offset": {**number, "description": "Its offset there, in decimal."},
                "key": {"type": "string", "description": "The event's own key, where it had one."},
                "timestamp": {**number, "description": "Kafka's timestamp of the event, in milliseconds since 1970."},
                "headers_dropped": {"const": "true", "description": "The event's own headers were too many to keep."},
                "truncated": {"const": "true", "description": "The event was too large: only its beginning is here."},
            },
            "patternProperties": {
                "^header:": {"type": "string", "description": "A header of the event, after the colon."}
            },
            "required": ["reason", "detail", "topic", "partition", "offset"],
        },
        "payload": {"description": "The bytes of the refused message's value, whatever they are."},
        "bindings": {"kafka": _key("Where the event lies: topic-partition-offset, like lead_created-0-17.")},
    }


def _dead_letter_mark() -> dict[str, Any]:
    return {
        "name": "dead_letter_mark",
        "title": "dead_letter_mark",
        "summary": "What was done with a dead letter; the latest mark of a letter counts.",
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "properties": {
                "disposition": {"type": "string", "enum": [REPLAYED, DROPPED]},
                "replayed_to": {
                    "type": "string",
                    "description": "Where the event was published again: topic-partition-offset.",
                },
                "note": {"type": "string", "description": "What whoever dropped it wrote."},
            },
            "required": ["disposition"],
        },
        "payload": {"type": "null"},
        "bindings": {"kafka": _key("The letter's key.")},
    }


def _key(description: str) -> dict[str, Any]:
    return {"key": {"type": "string", "description": description}, "bindingVersion": _KAFKA_BINDING}


def _operation(action: str, topic: str, message: str) -> dict[str, Any]:
    channel = f"#/channels/{topic}"
    return {"action": action, "channel": {"$ref": channel}, "messages": [{"$ref": f"{channel}/messages/{message}"}]}


def documents() -> dict[str, str]:
    """Give every document as text, by its path inside the folder `schemas`."""
    found: dict[str, Any] = {f"{topic}.schema.json": json_schema(kind) for topic, kind in EVENT_TYPES.items()}
    found["asyncapi.json"] = asyncapi()
    found |= {f"examples/{topic}.json": EXAMPLES[topic] for topic in EVENT_TYPES}
    return {path: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for path, document in found.items()}


def write(folder: Path) -> None:
    """Write the documents.

    Raises:
        OSError: The folder cannot be written.

    """
    for path, text in documents().items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "schemas"))
