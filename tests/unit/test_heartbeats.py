"""Heartbeats are passed over by everything that counts; what only pretends to be one is refused like any message."""

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from salesfx.audit.recomputation import HeartbeatError, RefusedError, read_event
from salesfx.decoder import decode_heartbeat
from salesfx.definitions import Definitions
from salesfx.heartbeat import HEADER, MOST_FEEDS, WORKER, Heartbeat, message
from salesfx.refusal import Reason, Refused
from streams.batch import Batch, Partition, Record
from tests.processing import handle
from tests.unit.test_processor import LEADS, QUOTES, Bench, lead, record, reference

AT = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
SENT = {"feed": "crm", "sent_at": "2026-11-20T09:30:00Z"}
Headers = Sequence[tuple[str, bytes | None]]


@pytest.fixture
async def bench() -> Bench:
    """Open tables on a bench."""
    return await Bench().open()


def named(feed: str) -> Headers:
    """Write the header of a feed."""
    return [(HEADER, feed.encode())]


def beat(
    source: Partition, offset: int, feed: str = "crm", at: datetime = AT, late: timedelta = timedelta(0)
) -> Record:
    """Make a heartbeat as it lies in a partition."""
    key, value, headers = message(feed, at)
    return Record(source.topic, source.partition, offset, int((at + late).timestamp() * 1000), key, value, headers)


def batch_of(*records: Any) -> Batch:
    """Put records that follow each other into a batch."""
    first, last = records[0], records[-1]
    return Batch(Partition(first.topic, first.partition), first.offset, last.offset + 1, records, 0)


@pytest.mark.parametrize("feed", ["crm", "Продажби", "a b|c:d", "x" * 100])
def test_what_is_sent_is_read(feed: str) -> None:
    """By the worker and by the second implementation, whatever the feed is called and wherever its clock stands."""
    _, value, headers = message(feed, AT.astimezone(timezone(timedelta(hours=2))))
    assert decode_heartbeat(value, headers) == Heartbeat(feed, int(AT.timestamp() * 1_000_000))
    with pytest.raises(HeartbeatError):
        read_event("lead_created", value, Definitions(), headers)


def test_an_event_with_other_headers_is_none() -> None:
    """Only the one header makes a heartbeat; the same JSON without it is an event that lacks its fields."""
    assert decode_heartbeat(lead(1), [("ce_specversion", b"1.0"), ("trace", None)]) is None
    with pytest.raises(RefusedError) as refused:
        read_event("lead_created", json.dumps(SENT).encode(), Definitions())
    assert not isinstance(refused.value, HeartbeatError)


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (b"", named("crm"), Reason.NO_VALUE),
        (None, named("crm"), Reason.NO_VALUE),
        (b"alive", named("crm"), Reason.NOT_JSON),
        (b'["crm"]', named("crm"), Reason.NOT_JSON),
        (b'{"feed":"crm","sent_at":"2026-11-20T09:30:00Z","x":NaN}', named("crm"), Reason.NOT_JSON),
        (b'{"feed":"crm\xff"}', named("crm"), Reason.NOT_JSON),
        (json.dumps(SENT | {"x": "y" * 70_000}), named("crm"), Reason.TOO_LARGE),
        (json.dumps(SENT | {"feed": " "}), named(" "), Reason.MISSING_FIELD),
        (json.dumps({"feed": "crm"}), named("crm"), Reason.MISSING_FIELD),
        (json.dumps(SENT | {"sent_at": "soon"}), named("crm"), Reason.INVALID_FIELD),
        (json.dumps(SENT | {"sent_at": "2026-11-20T09:30:00"}), named("crm"), Reason.INVALID_FIELD),
        (json.dumps(SENT | {"sent_at": 1_700_000_000}), named("crm"), Reason.INVALID_FIELD),
        (json.dumps(SENT | {"feed": "c\u0007rm"}), named("c\u0007rm"), Reason.INVALID_FIELD),
        (json.dumps(SENT | {"feed": "x" * 101}), named("x" * 101), Reason.INVALID_FIELD),
        (json.dumps(SENT | {"feed": 7}), named("7"), Reason.INVALID_FIELD),
        (json.dumps(SENT | {"feed": "\ud83d"}), named("?"), Reason.INVALID_FIELD),
        (json.dumps(SENT), named("erp"), Reason.INVALID_FIELD),
        (json.dumps(SENT), [(HEADER, None)], Reason.INVALID_FIELD),
        (json.dumps(SENT), [(HEADER, b"crm\xff")], Reason.INVALID_FIELD),
        (lead(1), named("crm"), Reason.MISSING_FIELD),
    ],
)
def test_a_malformed_one_is_refused_by_both(value: bytes | str | None, headers: Headers, reason: Reason) -> None:
    """With the reason that an event would have; the second implementation refuses the same ones."""
    raw = value.encode() if isinstance(value, str) else value
    with pytest.raises(Refused) as refused:
        decode_heartbeat(raw, headers)
    assert refused.value.reason is reason
    with pytest.raises(RefusedError) as theirs:
        read_event("lead_created", raw or b"", Definitions(), headers)
    assert not isinstance(theirs.value, HeartbeatError)


async def test_they_count_nowhere(bench: Bench) -> None:
    """Tables and counters are those of the events alone; the offset is the one after the heartbeats."""
    events = [lead(number) for number in range(3)]
    records = [beat(LEADS, 0), record(LEADS, 1, events[0]), beat(LEADS, 2), record(LEADS, 3, events[1])]
    records += [record(LEADS, 4, events[2]), beat(LEADS, 5)]
    await handle(bench.handler, batch_of(*records), batch_of(beat(QUOTES, 0)))
    assert bench.tables.cells() == reference(lead_created=events)
    assert (bench.offset("lead_created"), bench.offset("quote_sent")) == (6, 1)
    assert bench.letters.sent == []
    counted = {name: n for name, n in bench.tables.data.counters.items() if name.startswith(("processed", "rejected"))}
    assert counted == {"processed|lead_created": 3, "processed|quote_sent": 0}


async def test_a_malformed_one_is_a_dead_letter(bench: Bench) -> None:
    """It counts as rejected, and marks nothing."""
    bad = beat(LEADS, 0)
    bad.value = b"{}"
    await handle(bench.handler, batch_of(bad))
    assert [letter.refused.reason for letter in bench.letters.sent] == [Reason.MISSING_FIELD]
    assert bench.tables.data.counters["rejected|lead_created|missing_field"] == 1
    assert not any(mark.startswith("last_heartbeat") for mark in bench.tables.data.marks)


async def test_the_newest_is_marked_by_when_it_was_made(bench: Bench) -> None:
    """Whatever the order in which they come, and not before the moment at which Kafka had it: a clock may be ahead."""
    hour = timedelta(hours=1)
    await handle(bench.handler, batch_of(beat(LEADS, 0, at=AT + hour)))
    await handle(bench.handler, batch_of(beat(LEADS, 1, at=AT), beat(LEADS, 2, "ahead", AT + hour, late=-hour)))
    await handle(bench.handler, batch_of(beat(LEADS, 3, "on its way for long", AT, late=hour)))
    marks, made = bench.tables.data.marks, AT.timestamp()
    assert float(marks["last_heartbeat|lead_created|crm"]) == made + 3600
    assert float(marks["last_heartbeat|lead_created|ahead"]) == made
    assert float(marks["last_heartbeat|lead_created|on its way for long"]) == made


async def test_the_last_events_age_is_not_refreshed(bench: Bench) -> None:
    """A topic in which nothing but heartbeats come has a last event that grows old."""
    await handle(bench.handler, batch_of(record(LEADS, 0, lead(0)), beat(LEADS, 1)))
    await handle(bench.handler, batch_of(beat(LEADS, 2, at=AT + timedelta(hours=1))), batch_of(beat(QUOTES, 0)))
    marks = bench.tables.data.marks
    assert marks["last_event|lead_created:0"] == "1700000000.000"
    assert "last_event|quote_sent:0" not in marks
    assert "last_commit|quote_sent:0" in marks


async def test_made_up_names_fill_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """However many feeds there are, some are marked, the worker's always, and the log says once that there are too many."""
    with caplog.at_level(logging.WARNING, "salesfx.worker"):
        for start in range(0, 300, 100):
            made_up = [beat(LEADS, start + number, f"pod-{start + number}") for number in range(100)]
            await handle(bench.handler, batch_of(*made_up))
        await handle(bench.handler, batch_of(beat(LEADS, 300, WORKER)))
    marks = [mark for mark in bench.tables.data.marks if mark.startswith("last_heartbeat|")]
    assert len(marks) == MOST_FEEDS + 1
    assert f"last_heartbeat|lead_created|{WORKER}" in marks
    assert len([line for line in caplog.messages if "more than 20 feeds" in line]) == 1


async def test_the_share_of_refused_events_follows_the_last_ones(bench: Bench) -> None:
    """One bad event among good ones is a tenth; after some ten of them it is most; good ones bring it down again."""

    def share() -> float:
        return float(bench.tables.data.marks.get("refused_share|lead_created", "0"))

    await handle(bench.handler, batch_of(*(record(LEADS, n, lead(n)) for n in range(20))))
    assert share() == 0
    await handle(bench.handler, batch_of(record(LEADS, 20, b"bad"), beat(LEADS, 21)))
    assert share() == pytest.approx(0.1, abs=0.001)
    assert bench.tables.data.marks["last_refused|lead_created"] == "1700000000.000"
    await handle(bench.handler, batch_of(*(record(LEADS, n, b"bad") for n in range(22, 32))))
    assert share() > 0.6
    for number in range(32, 100):
        await handle(bench.handler, batch_of(record(LEADS, number, lead(number))))
    assert "refused_share|lead_created" not in bench.tables.data.marks
