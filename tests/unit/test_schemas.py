"""The committed documents are the generated ones, and say what the decoder does."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from salesfx import schemas
from salesfx.cloudevents import fill
from salesfx.decoder import decode
from salesfx.events import EVENT_TYPES, MAX_ID, MAX_NAME, TOPICS, CrmEvent
from salesfx.refusal import Reason, Refused
from streams.dead_letters import DeadLetter

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "schemas"
DOC = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
VALIDATORS = {topic: Draft202012Validator(schemas.json_schema(kind)) for topic, kind in EVENT_TYPES.items()}
EXAMPLES = [(topic, name) for topic in TOPICS for name in schemas.EXAMPLES[topic]]
FIELDS = [(topic, name) for topic, kind in EVENT_TYPES.items() for name in kind.__struct_fields__]
ASYNCAPI = schemas.asyncapi()


def accepted(topic: str, event: Any) -> bool:
    """Tell whether the decoder takes an event."""
    try:
        decode(topic, json.dumps(event).encode())
    except Refused:
        return False
    return True


def refs(document: Any) -> Iterator[str]:
    """Give every $ref of a document."""
    if isinstance(document, dict):
        if "$ref" in document:
            yield document["$ref"]
        for part in document.values():
            yield from refs(part)
    elif isinstance(document, list):
        for part in document:
            yield from refs(part)


def resolved(ref: str, home: str) -> Any:
    """Follow a $ref from one committed document."""
    file, _, pointer = ref.partition("#")
    found = json.loads((FOLDER / (file or home)).read_text(encoding="utf-8"))
    for step in pointer.split("/")[1:]:
        found = found[step.replace("~1", "/").replace("~0", "~")]
    return found


# ---------------------------------------------------------------------------------------------------------------------
# The files


def test_the_committed_files_are_the_generated_ones() -> None:
    """Where this fails: python -m salesfx.schemas."""
    committed = {
        path.relative_to(FOLDER).as_posix(): path.read_text(encoding="utf-8")
        for path in FOLDER.rglob("*")
        if path.is_file()
    }
    assert committed.keys() == schemas.documents().keys()
    for path, text in schemas.documents().items():
        assert committed[path] == text, f"{path} is not what python -m salesfx.schemas writes"


def test_writing_gives_the_same_files(tmp_path: Path) -> None:
    """The folders are made, too."""
    schemas.write(tmp_path / "new")
    for path, text in schemas.documents().items():
        assert (tmp_path / "new" / path).read_text(encoding="utf-8") == text


@pytest.mark.parametrize("path", [path for path in schemas.documents() if not path.startswith("examples/")])
def test_every_reference_resolves(path: str) -> None:
    """To something that is there."""
    found = list(refs(json.loads((FOLDER / path).read_text(encoding="utf-8"))))
    assert found or path == "lead_created.schema.json"
    for ref in found:
        assert isinstance(resolved(ref, path), dict)


# ---------------------------------------------------------------------------------------------------------------------
# The JSON Schemas


@pytest.mark.parametrize("topic", TOPICS)
def test_the_schemas_are_json_schemas(topic: str) -> None:
    """Of the version that they name, and tolerant of unknown fields."""
    schema = schemas.json_schema(EVENT_TYPES[topic])
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is True


@pytest.mark.parametrize(("topic", "name"), FIELDS)
def test_every_field_is_described_once(topic: str, name: str) -> None:
    """And described in words."""

    def properties(schema: Any) -> Iterator[dict[str, Any]]:
        for key, part in schema.items():
            if key in {"else", "then"}:
                yield from properties(part)
            elif key == "properties" and name in part:
                yield part[name]

    (found,) = properties(schemas.json_schema(EVENT_TYPES[topic]))
    assert found["description"].strip().endswith(".")


@pytest.mark.parametrize(("topic", "name"), EXAMPLES)
def test_the_examples_are_valid_and_decoded(topic: str, name: str) -> None:
    """Of an envelope, the event inside, with what the envelope supplies."""
    event = schemas.EXAMPLES[topic][name]
    read = decode(topic, json.dumps(event).encode())
    if "specversion" in event:
        wire = SimpleNamespace(**{"event_id": None, "occurred_at": None} | event["data"])
        fill(wire, event["id"], event["time"])
        event = vars(wire)
    VALIDATORS[topic].validate(event)
    assert read.standing.retracted is (name == "retraction")


def test_the_examples_show_every_field_and_outcome() -> None:
    """A field that no example has is not understood."""
    for topic, kind in EVENT_TYPES.items():
        shown = {name for event in schemas.EXAMPLES[topic].values() for name in event}
        assert set(kind.__struct_fields__) - shown <= {"account_id", "recorded_at"}
    assert {event.get("outcome") for event in schemas.EXAMPLES["deal_closed"].values()} == {"won", "lost", "open", None}


MINIMAL = {
    "lead_created": {"event_id": "e", "occurred_at": "2026-10-05T09:30:00Z", "lead_id": "L"},
    "quote_sent": {
        "event_id": "e",
        "occurred_at": "2026-10-05T09:30:00Z",
        "quote_id": "Q",
        "amount": "1",
        "currency": "EUR",
    },
    "deal_closed": {
        "event_id": "e",
        "occurred_at": "2026-10-05T09:30:00Z",
        "deal_id": "D",
        "outcome": "won",
        "amount": "1",
        "currency": "EUR",
    },
}
VALUES: list[Any] = [
    *(None, "", "  ", True, False, 0, 1, 3.0, 3.5, -1, 2**63 - 1, 2**63, 1e3, 0.1, 10**10, [], {}, "a", "a b", " a"),
    *("x" * MAX_NAME, "x" * (MAX_NAME + 1), "x" * MAX_ID, "x" * (MAX_ID + 1), "a\x00b", "a\x85b", "Мария", "😀" * 100),
    *("2026-10-05T09:30:00Z", "2026-10-05t09:30:00.1234567+03:00", "2026-10-05T09:30:00", "1999-10-05T09:30:00Z"),
    *("2101-01-01T00:00:00Z", "2026-10-05T24:00:00Z", "2026-10-05T09:30:00+24:00", "2026-10-05 09:30:00Z"),
    *("2026-10-05", "2100-12-31", "2101-01-01", "9999-12-31", "0000-12-31", "0001-01-01", "2026-13-01", "2026-1-1"),
    *("won", "lost", "open", "Won", "new_account", "expansion", "returning", "EUR", " usd ", "EURO", "€"),
    *(
        "1150.00",
        "5.",
        ".5",
        ".",
        "1e3",
        "+1",
        " 1",
        "-1",
        "1_000",
        "NaN",
        "9999999999.99",
        "10000000000",
        "0010000000000",
    ),
    *("0" * 30 + "1.5", "0." + "1" * 100, "0." + "1" * 101, "\u0661"),
]
SITUATIONS: list[dict[str, Any]] = [
    {},
    {"retracted": True},
    {"retracted": None},
    {"outcome": "lost"},
    {"outcome": "open"},
]


@pytest.mark.parametrize(("topic", "name"), FIELDS)
def test_schema_and_decoder_agree_on_every_field(topic: str, name: str) -> None:
    """Absent or with any of many values: in an ordinary event, a retraction, and a deal that is not won."""
    verdicts = set()
    for situation in SITUATIONS:
        event = MINIMAL[topic] | situation
        without = {key: value for key, value in event.items() if key != name}
        for variant in (without, *(event | {name: value} for value in VALUES)):
            by_decoder = accepted(topic, variant)
            assert VALIDATORS[topic].is_valid(variant) is by_decoder, variant
            verdicts.add(by_decoder)
    assert verdicts == {True, False}


_instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 12, 31), timezones=st.just(UTC)).map(datetime.isoformat)  # noqa: DTZ001
_days = st.dates(date(2000, 1, 1), date(2100, 12, 31)).map(date.isoformat)
_ids = st.one_of(st.text(max_size=5), st.text("ab ", max_size=MAX_ID + 2))
_amounts = st.one_of(
    st.decimals(-1, 10**10, allow_nan=False).map(lambda amount: f"{amount:f}"),
    st.integers(-1, 10**10),
    st.floats(-0.1, 10**10).filter(lambda amount: not 0 < amount < 1e-80),  # a schema cannot count a number's digits
    st.from_regex(r"[0-9]*\.?[0-9]*", fullmatch=True),
)
_well_typed: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(["event_id", "lead_id", "quote_id", "deal_id", "account_id"], _ids),
    # Composed already: that NFC lengthens a few characters is more than a schema can say.
    **dict.fromkeys(["source", "salesperson"], st.text(st.characters(max_codepoint=0x2FF), max_size=MAX_NAME + 2)),
    **dict.fromkeys(["occurred_at", "recorded_at"], _instants),
    **dict.fromkeys(["expected_close_on", "contract_ends_on"], _days),
    **dict.fromkeys(["revision", "recipient_count"], st.integers(-1, 2**64)),
    "retracted": st.booleans(),
    "amount": _amounts,
    "currency": st.one_of(st.just("EUR"), st.text(max_size=4), st.from_regex(r"\s?[A-Za-z]{3}\s?", fullmatch=True)),
    "need": st.text(max_size=300),
    "outcome": st.sampled_from(["won", "lost", "open", "", None]),
    "category": st.sampled_from(["new_account", "expansion", "returning", "", None]),
}
_well_typed_events = st.sampled_from(TOPICS).flatmap(
    lambda topic: st.tuples(
        st.just(topic),
        st.fixed_dictionaries(
            {name: st.one_of(st.just(value), _well_typed[name]) for name, value in MINIMAL[topic].items()},
            optional={
                name: _well_typed[name] for name in EVENT_TYPES[topic].__struct_fields__ if name not in MINIMAL[topic]
            },
        ),
    )
)


@settings(max_examples=1000, deadline=None)
@given(_well_typed_events)
def test_what_the_schema_accepts_the_decoder_accepts(event: tuple[str, dict[str, Any]]) -> None:
    """So a CRM that validates what it sends is never refused, save for a lacking rate."""
    topic, fields = event
    if VALIDATORS[topic].is_valid(fields):
        decode(topic, json.dumps(fields).encode())


# ---------------------------------------------------------------------------------------------------------------------
# The AsyncAPI document


def test_the_asyncapi_document_has_every_topic() -> None:
    """What CRMs send, salesfx receives; what it cannot use it sends."""
    assert ASYNCAPI["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= ASYNCAPI["info"].keys()
    addresses = {name: channel["address"] for name, channel in ASYNCAPI["channels"].items()}
    assert addresses == {name: name for name in (*TOPICS, "salesfx.dead_letters")}
    done = {(op["action"], op["channel"]["$ref"]) for op in ASYNCAPI["operations"].values()}
    assert done == {
        *(("receive", f"#/channels/{topic}") for topic in TOPICS),
        ("send", "#/channels/salesfx.dead_letters"),
    }
    for channel in ASYNCAPI["channels"].values():  # the log is what the tables are made from
        kept = {"cleanup.policy": ["delete"], "retention.ms": -1}
        assert channel["bindings"]["kafka"]["topicConfiguration"] == kept
    for operation in ASYNCAPI["operations"].values():
        (message,) = operation["messages"]
        assert message["$ref"].startswith(operation["channel"]["$ref"] + "/messages/")


@pytest.mark.parametrize("topic", TOPICS)
def test_the_messages_carry_schema_key_and_examples(topic: str) -> None:
    """The payload is the schema file of the topic, the key is the entity's id."""
    message = resolved(resolved(f"#/channels/{topic}/messages/{topic}", "asyncapi.json")["$ref"], "asyncapi.json")
    assert resolved(message["payload"]["$ref"], "asyncapi.json")["title"] == topic
    assert EVENT_TYPES[topic].entity in message["bindings"]["kafka"]["key"]["description"]
    assert [example["payload"] for example in message["examples"]] == [*schemas.EXAMPLES[topic].values()]
    assert "CloudEvents" in message["description"]


@pytest.mark.parametrize(
    "record",
    [
        SimpleNamespace(topic="lead_created", partition=3, offset=17, key=None, headers=[], timestamp=None),
        SimpleNamespace(
            topic="crm.deal_closed",
            partition=0,
            offset=0,
            key=b"D",
            headers=[("ce_id", b"1"), ("x", None)],
            timestamp=1_763_900_000_000,
        ),
        SimpleNamespace(
            topic="lead_created",
            partition=3,
            offset=17,
            key=b"L",
            headers=[("x", b"y" * 70_000), ("salesfx_replay_of", b"lead_created-0-1")],
            timestamp=0,
        ),
    ],
)
def test_dead_letters_have_the_headers_that_are_documented(record: Any) -> None:
    """As the worker writes them, for every reason."""
    schema = ASYNCAPI["components"]["messages"]["dead_letter"]["headers"]
    for reason in Reason:
        headers = {name: value.decode() for name, value in DeadLetter(record, Refused(reason, "words")).headers}
        Draft202012Validator(schema | {"additionalProperties": False}).validate(headers)
    assert not Draft202012Validator(schema).is_valid({**headers, "reason": "another"})


# ---------------------------------------------------------------------------------------------------------------------
# docs/events.md


def section(heading: str) -> str:
    """Give the text under one heading of the page."""
    (found,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", DOC, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.mark.parametrize(("topic", "name"), FIELDS)
def test_every_field_is_in_its_table(topic: str, name: str) -> None:
    """And marked as needed where it is."""
    common = name in CrmEvent.__struct_fields__
    rows = re.findall(
        rf"^\| `{name}` \| ([^|]*)\| ", section("Fields of every event" if common else topic), re.MULTILINE
    )
    kind = EVENT_TYPES[topic]
    needed = {"event_id", "occurred_at", kind.entity, *kind.needed}
    where_won = getattr(kind, "needed_where_won", ())
    assert [row.strip() for row in rows] == ["yes" if name in needed else "where won" if name in where_won else ""]


@pytest.mark.parametrize("topic", TOPICS)
def test_the_tables_have_no_other_field(topic: str) -> None:
    """A field that is gone is gone from the page."""
    named = set(re.findall(r"^\| `(\w+)` \|", section(topic) + section("Fields of every event"), re.MULTILINE))
    assert named == set(EVENT_TYPES[topic].__struct_fields__)


def test_every_reason_is_explained() -> None:
    """And no other."""
    assert sorted(re.findall(r"^\| `(\w+)` \|", section("What is refused"), re.MULTILINE)) == sorted(Reason)


def test_the_examples_on_the_page_are_accepted() -> None:
    """Each names its topic, or has a CloudEvents type that does."""
    blocks = [msgspec.json.decode(block) for block in re.findall(r"```json\n(.*?)```", DOC, re.DOTALL)]
    topics = [block.get("topic") or block["type"].rpartition(".")[2] for block in blocks]
    assert set(topics) == set(TOPICS)
    for topic, block in zip(topics, blocks, strict=True):
        assert accepted(topic, block), block
        assert "specversion" in block or VALIDATORS[topic].is_valid(block)
