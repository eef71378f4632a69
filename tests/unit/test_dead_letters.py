"""The form of dead letters and marks, and the ledger that tells what became of each."""

import tracemalloc
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from salesfx.dead_letters.content import Content, Judge, UnfaithfulError, content_of, replayed_headers
from salesfx.dead_letters.ledger import Ledger, Selection, Status
from salesfx.dead_letters.letter import (
    MAX_HEADERS,
    REPLAY_OF,
    TRUNCATED,
    Letter,
    Place,
    letter_headers,
    letter_key,
    mark_headers,
    read_letter,
    read_mark,
    read_origin,
)
from salesfx.dead_letters.shown import history_lines, newest_replay, shown_value
from salesfx.definitions import Definitions
from salesfx.reading.shown import printable
from salesfx.refusal import Reason, Refused
from salesfx.rules import Rules

ORIGIN = Place("crm-2.quote_sent", 3, 17)
OTHER = Place("crm-2.quote_sent", 3, 99)
TOPICS = {"crm-2.quote_sent": "quote_sent"}


def record(
    headers: Any, key: bytes | None, value: bytes | None = b"{", *, when: int = 1000, offset: int = 0
) -> SimpleNamespace:
    """Make a record of the dead-letter topic."""
    return SimpleNamespace(headers=headers, key=key, value=value, timestamp=when, partition=1, offset=offset)


def letter_record(
    origin: Place = ORIGIN, *, timestamp: int = 7, replay_of: Place | None = None, words: str = "words", **where: Any
) -> SimpleNamespace:
    """Make a letter as the worker writes it."""
    its = [] if replay_of is None else [(REPLAY_OF, str(replay_of).encode())]
    headers = letter_headers(origin, b"k", its, Refused(Reason.NO_RATE, words), timestamp)
    return record(headers, letter_key(origin), **where)


def mark_record(replayed_to: Place | None = None, of: Place = ORIGIN, **where: Any) -> SimpleNamespace:
    """Make a mark as the commands write it, behind its letter."""
    return record(mark_headers(replayed_to, "why"), letter_key(of), None, **{"offset": 1, **where})


REFUSED_AGAIN = letter_record(OTHER, replay_of=ORIGIN, offset=2)


def folded(*records: Any) -> Ledger:
    """Read a topic; the workers have come to offset 100."""
    ledger = Ledger(TOPICS)
    ledger.offsets = {"quote_sent:3": 100}
    for each in records:
        ledger.add(each)
    return ledger


@pytest.mark.parametrize("key", [None, b"", b"k", b"\xff\x00"])
@pytest.mark.parametrize("value", [None, b"", b"{}", b"\xff"])
def test_a_letter_is_read_as_it_was_written(key: bytes | None, value: bytes | None) -> None:
    """Also where the event's headers have the names of the letter's."""
    headers = [("reason", b"theirs"), ("x", b"\xff"), ("x", b""), ("truncated", b"true"), ("disposition", b"dropped")]
    written = letter_headers(ORIGIN, key, headers, Refused(Reason.NOT_JSON, "the value …"))
    assert read_letter(record(written, letter_key(ORIGIN), value)) == Letter(
        origin=ORIGIN,
        reason="not_json",
        detail="the value …",
        value=value,
        key=key,
        headers=headers,
        truncated=False,
        headers_dropped=False,
    )


def test_what_a_letter_lacks_it_says() -> None:
    """A cut value, headers that were dropped, and a key that may be cut."""
    refused = Refused(Reason.TOO_LARGE, "words")
    headers = [*letter_headers(ORIGIN, b"k" * 70_000, [("x", b"y" * MAX_HEADERS)], refused), TRUNCATED]
    read = read_letter(record(headers, letter_key(ORIGIN)))
    assert read is not None
    assert (read.truncated, read.headers_dropped, read.key_cut, read.headers) == (True, True, True, [])


@pytest.mark.parametrize(
    "text",
    [
        *("a", "a-1", "a-1-", "-1-1", "a-1-b", "a-01-1", "a-1-1 ", "a-1-²", "a--1-1x", ""),
        *("\x1b[2J-0-1", "a b-0-1", "a\n-0-1", "\u202e-0-1", "é-0-1", "a" * 250 + "-0-1"),
    ],
)
def test_other_texts_are_no_places(text: str) -> None:
    """A place has one way to be written, and its topic a name that Kafka allows: it is shown on terminals."""
    assert Place.parse(text) is None


def test_a_topic_may_have_dashes() -> None:
    """The last two parts are the numbers."""
    assert Place.parse("a-1-b-2-3") == Place("a-1-b", 2, 3)


@pytest.mark.parametrize(
    "foreign",
    [
        record([], None),
        record([], letter_key(ORIGIN)),
        record(letter_record().headers, letter_key(OTHER)),
        record(letter_record().headers[1:], letter_key(ORIGIN)),
        record(letter_record().headers, b"\xff"),
        record([("disposition", b"eaten")], letter_key(ORIGIN)),
        record([("disposition", b"replayed")], letter_key(ORIGIN)),
        record([("disposition", b"replayed"), ("replayed_to", b"nowhere")], letter_key(ORIGIN)),
        record([("disposition", None)], letter_key(ORIGIN)),
        record([*letter_record().headers, ("disposition", b"eaten")], letter_key(ORIGIN)),
        record([("disposition", b"dropped")], b"junk"),
        letter_record(Place("x\x1b]0;owned\x07", 0, 1)),
        mark_record(Place("x\x1b]0;owned\x07", 0, 1)),
    ],
)
def test_what_has_another_form_is_neither_letter_nor_mark(foreign: SimpleNamespace) -> None:
    """It is counted, and that is all."""
    assert (read_origin(foreign), read_letter(foreign), read_mark(foreign)) == (None, None, None)
    ledger = Ledger(TOPICS)
    ledger.add(foreign)
    assert (ledger.not_letters, ledger.letters) == (1, {})


def test_the_ledger_does_not_depend_on_the_order_of_reading() -> None:
    """The first letter stands, a repeat opens nothing, the latest mark decides."""
    records = [
        letter_record(when=1, offset=0),
        mark_record(when=2, offset=1),
        mark_record(OTHER, when=3, offset=2),
        letter_record(when=4, offset=3),
    ]
    for order in permutations(records):
        ledger = Ledger(TOPICS)
        ledger.offsets = {"quote_sent:3": 100}
        for each in order:
            ledger.add(each)
        entry = ledger.letters[str(ORIGIN)]
        assert (entry.when, entry.offset, entry.repeats) == (1, 0, 1)
        assert ledger.status(str(ORIGIN)) is Status.MERGED
        assert [mark.disposition for mark in ledger.marks(str(ORIGIN))] == ["dropped", "replayed"]


@pytest.mark.parametrize(
    ("offsets", "records", "status"),
    [
        ({}, [], Status.OPEN),
        ({}, [mark_record()], Status.DROPPED),
        ({}, [mark_record(OTHER)], Status.WAITING),
        ({"quote_sent:3": 99}, [mark_record(OTHER)], Status.WAITING),
        ({"quote_sent:3": 100}, [mark_record(OTHER)], Status.MERGED),
        ({"quote_sent:2": 100}, [mark_record(OTHER)], Status.WAITING),
        (None, [mark_record(OTHER)], Status.REPLAYED),
        ({"quote_sent:3": 100}, [mark_record(OTHER), REFUSED_AGAIN], Status.REFUSED_AGAIN),
        # The worker may be quicker than the mark.
        ({"quote_sent:3": 100}, [REFUSED_AGAIN, mark_record(OTHER, offset=3)], Status.REFUSED_AGAIN),
        (None, [mark_record(OTHER), REFUSED_AGAIN], Status.REFUSED_AGAIN),
    ],
)
def test_what_became_of_a_letter(offsets: dict[str, int] | None, records: list[Any], status: Status) -> None:
    """By its marks, the stored offsets and the letters of its replays."""
    ledger = Ledger(TOPICS)
    ledger.offsets = offsets
    for each in [letter_record(), *records]:
        ledger.add(each)
    assert ledger.status(str(ORIGIN)) is status
    assert list(ledger.chosen(Selection(), [status])) == [str(ORIGIN)]


def test_a_topic_made_again_has_letters_of_its_own() -> None:
    """Another event at the same place is open, whatever was done with the former one, in whatever order they are read.

    Also one with the same content, which is what publishing the same file again gives.
    """
    former = [letter_record(), mark_record(offset=1), letter_record(offset=2)]
    for new in (letter_record(timestamp=8, offset=3), letter_record(offset=3)):
        new.value = b"{" if new.headers != former[0].headers else b"{}"
        repeat = SimpleNamespace(**{**vars(new), "offset": 4})
        for order in permutations([*former, new, repeat]):
            ledger = folded(*order)
            entry = ledger.letters[str(ORIGIN)]
            assert (entry.offset, entry.repeats, ledger.status(str(ORIGIN))) == (3, 1, Status.OPEN)
            assert (ledger.marks(str(ORIGIN)), ledger.earlier_events(str(ORIGIN))) == ([], 1)
            ledger.add(mark_record(offset=5))
            assert ledger.status(str(ORIGIN)) is Status.DROPPED
    assert folded(*former).earlier_events(str(ORIGIN)) == 0


def test_a_repeat_in_other_words_is_a_repeat() -> None:
    """Another salesfx may give another detail for the same event."""
    ledger = folded(letter_record(), mark_record(), letter_record(words="others", offset=2))
    assert (ledger.status(str(ORIGIN)), ledger.letters[str(ORIGIN)].repeats) == (Status.DROPPED, 1)


@pytest.mark.parametrize(
    "old",
    [
        letter_record(OTHER, offset=0),
        letter_record(OTHER, replay_of=ORIGIN, offset=0),
        letter_record(OTHER, replay_of=Place(ORIGIN.topic, 0, 0), offset=9),
    ],
)
def test_a_letter_of_another_event_is_no_refusal_of_a_replay(old: SimpleNamespace) -> None:
    """One of a topic that is gone lay there before; the replay that came to the same place was merged."""
    ledger = folded(old, letter_record(offset=1), mark_record(OTHER, offset=2))
    assert ledger.status(str(ORIGIN)) is Status.MERGED
    assert newest_replay(ledger, str(ORIGIN)) == str(ORIGIN)


def test_a_letter_without_headers_says_what_it_is_a_replay_of() -> None:
    """Else its event, which was refused again, would count as merged."""
    its = [("x", b"y" * MAX_HEADERS), (REPLAY_OF, b"\x1b" * 50_000), (REPLAY_OF, str(ORIGIN).encode())]
    headers = letter_headers(OTHER, None, its, Refused(Reason.NO_RATE, "words"), 7)
    assert sum(len(value) for _, value in headers) < 1000
    ledger = folded(letter_record(), mark_record(OTHER), record(headers, letter_key(OTHER), offset=2))
    assert ledger.status(str(ORIGIN)) is Status.REFUSED_AGAIN


@pytest.mark.parametrize("status", list(Status))
def test_every_status_is_documented(status: Status) -> None:
    """docs/dead-letters.md says what it means."""
    page = Path(__file__).parent.parent.parent / "docs" / "dead-letters.md"
    assert f"| `{status}` |" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("selection", "has"),
    [
        (Selection(reason="no_rate", topics=frozenset([ORIGIN.topic]), since=1_000_000, until=1_000_001), True),
        (Selection(reason="not_json"), False),
        (Selection(topics=frozenset(["quote_sent"])), False),
        (Selection(since=1_000_001), False),
        (Selection(until=1_000_000), False),
    ],
)
def test_letters_are_chosen_by_all_conditions(selection: Selection, *, has: bool) -> None:
    """From a moment on, and before another."""
    ledger = Ledger(TOPICS)
    ledger.add(letter_record(when=1000))
    assert list(ledger.chosen(selection)) == ([str(ORIGIN)] if has else [])


def letter(**more: Any) -> Letter:
    """Make a letter of a quote."""
    whole = {"reason": "no_rate", "detail": "", "value": b"{}", "key": b"k", "headers": [("x", b"1")]}
    return Letter(**{"origin": ORIGIN, "truncated": False, "headers_dropped": False, **whole, **more})


def test_a_whole_letter_needs_no_log() -> None:
    """Its event is published from it, and says of which letter it is a replay, once."""
    replayed = letter(headers=[("x", b"1"), (REPLAY_OF, b"old"), ("x", b"2")])
    content = content_of(replayed, lambda _: pytest.fail("the log was read"))
    assert (content.key, content.value, content.from_log) == (b"k", b"{}", False)
    assert replayed_headers(replayed, content) == [("x", b"1"), ("x", b"2"), (REPLAY_OF, str(ORIGIN).encode())]


@pytest.mark.parametrize(
    ("cut", "original", "same"),
    [
        ({"truncated": True, "value": b"{"}, (b"k", b"{ }"), True),
        ({"truncated": True, "value": b"{"}, (b"k", b"[ ]"), False),
        ({"truncated": True, "value": b"{"}, (b"k", None), False),
        ({"truncated": True, "value": b"{"}, (b"other", b"{ }"), False),
        ({"headers_dropped": True}, (b"k", b"{}"), True),
        ({"headers_dropped": True}, (b"k", b"{} "), False),
        ({"key": b"k" * MAX_HEADERS}, (b"k" * 70_000, b"{}"), True),
        ({"key": b"k" * MAX_HEADERS}, (b"j" * 70_000, b"{}"), False),
    ],
)
def test_what_a_letter_lacks_comes_from_the_log(cut: dict[str, Any], original: tuple[Any, Any], *, same: bool) -> None:
    """Where the same event is still there."""
    lying = SimpleNamespace(key=original[0], value=original[1], headers=[("x", None)])
    if same:
        assert content_of(letter(**cut), lambda _: lying) == Content(*original, [("x", b"")], from_log=True)
    else:
        with pytest.raises(UnfaithfulError, match="another message"):
            content_of(letter(**cut), lambda _: lying)
    with pytest.raises(UnfaithfulError, match=str(ORIGIN).replace(".", r"\.")):
        content_of(letter(**cut), lambda _: None)


def test_the_judge_says_why_an_event_could_not_be_used() -> None:
    """Under the settings in force, with its headers, and only of topics that are ours."""
    judge = Judge(Rules(Definitions()), TOPICS)
    value = b'{"quote_id": "Q", "amount": 1, "currency": "EUR"}'
    envelope = [("ce_specversion", b"1.0"), ("ce_id", b"e"), ("ce_time", b"2026-10-05T09:00:00Z")]
    assert judge.objection(letter(), Content(None, value, envelope)) is None
    assert str(judge.objection(letter(), Content(None, value, []))).startswith("missing_field: ")
    in_dollars = value.replace(b"EUR", b"USD")
    assert str(judge.objection(letter(), Content(None, in_dollars, envelope))).startswith("no_rate: ")
    elsewhere = letter(origin=Place("quote_sent", 0, 0))
    assert "no topic of these settings" in str(judge.objection(elsewhere, Content(None, value, envelope)))


def test_people_are_shown_text_that_orders_nothing() -> None:
    """Escapes for what a terminal obeys; JSON with indents; a bound."""
    assert printable("a\x1b[31m\u202e\n") == "a\\x1b[31m\\u202e\\n"
    assert shown_value(b'{"a":1.10,"b":"\x7f"}') == '{\n  "a": 1.10,\n  "b": "\\x7f"\n}'
    assert shown_value(b"\xff\x1b") == "\\xff\\x1b"
    assert "96,000 characters more" in shown_value(b"x" * 100_000)
    assert shown_value(b"[" * 50_000)
    assert (shown_value(None), shown_value(b"")) == ("none", "empty")


def test_indents_take_no_more_room_than_a_small_letter_may() -> None:
    """Deep nesting times many lines, and what is longer than an event may be, are shown as they came."""
    deep = b"[" * 900 + b",".join([b"1"] * 30_000) + b"]" * 900
    wide = b"[" * 90 + b",".join([b"1"] * 40_000) + b"]" * 90
    for value in (deep, wide):
        tracemalloc.start()
        shown = shown_value(value)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert shown.startswith(value[:100].decode())
        assert peak < 10 * len(value)
    assert shown_value(b"[" * 90 + b"]" * 90).startswith("[\n  [\n")


def test_a_history_follows_replays_to_the_last() -> None:
    """Two letters that name each other, which only a forger writes, end it too."""
    ledger = Ledger(TOPICS)
    ledger.offsets = {}
    for each in (letter_record(), mark_record(OTHER), REFUSED_AGAIN):
        ledger.add(each)
    assert history_lines(ledger, str(ORIGIN), ZoneInfo("Europe/Sofia")) == [
        "1970-01-01 02:00:01  refused",
        f"1970-01-01 02:00:01  published again as {OTHER}: refused again, and that letter is open: {OTHER}",
    ]
    ledger.add(mark_record(ORIGIN, OTHER, offset=3))
    assert len(history_lines(ledger, str(ORIGIN), ZoneInfo("Europe/Sofia"))) == 2
