"""Publishing letters again, and telling what became of each."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Any

import msgspec

from salesfx.dead_letters.box import Box, NotTakenError
from salesfx.dead_letters.content import Content, Judge, UnfaithfulError, content_of, replayed_headers
from salesfx.dead_letters.ledger import Entry, Ledger, Status
from salesfx.dead_letters.letter import Letter, Place
from salesfx.tables.layout import partition_field

KEPT = 1000
"""Most letters of which a replay tells each one; of the others it tells how many."""
_CHUNK_LETTERS = 500
_CHUNK_BYTES = 8 * 1024 * 1024
_LOOK_SECONDS = 0.3


class Result(StrEnum):
    """What a replay did with a letter."""

    REPLAYED = "replayed"
    """Published again; in a dry run, it would be."""
    NOT_USABLE = "not_usable"
    """It would be refused again, so it was left as it is."""
    NOT_POSSIBLE = "not_possible"
    """It cannot be published as it was."""


class Outcome(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a replay came to for one letter."""

    key: str
    result: Result
    detail: str | None = None
    """Why it was not replayed, or why it was refused again."""
    replayed_to: Place | None = None
    status: Status | None = None


class Report(msgspec.Struct, kw_only=True):
    """What a replay came to."""

    counts: Counter[Result] = msgspec.field(default_factory=Counter)
    statuses: Counter[Status] = msgspec.field(default_factory=Counter)
    """Of those that were replayed."""
    outcomes: dict[str, Outcome] = msgspec.field(default_factory=dict)
    """Of the first letters, by key: those that were not replayed, and those that were."""
    places: dict[Place, str] = msgspec.field(default_factory=dict)
    """Keys of all letters that were replayed, by where they were published again."""
    details: Counter[str] = msgspec.field(default_factory=Counter)
    """Why letters were not replayed, or refused again."""

    def note(self, outcome: Outcome) -> None:
        """Count one letter."""
        self.counts[outcome.result] += 1
        if outcome.replayed_to is not None:
            self.places[outcome.replayed_to] = outcome.key
        if outcome.detail is not None:
            self.details[outcome.detail] += 1
        if len(self.outcomes) < KEPT:
            self.outcomes[outcome.key] = outcome

    def note_fate(self, place: Place, status: Status, detail: str | None = None) -> None:
        """Count what became of one that was replayed."""
        self.statuses[status] += 1
        if detail is not None:
            self.details[detail] += 1
        outcome = self.outcomes.get(self.places[place])
        if outcome is not None:
            outcome.status, outcome.detail = status, detail


class Replay:
    """Publishes letters again: an event, then the mark of its letter.

    Where it ends between the two, the letter stays open and its event lies in the log once more. That changes no number,
    because an event counts once however often it comes; the next replay publishes it again and marks it.
    """

    def __init__(self, box: Box, judge: Judge, *, even_unusable: bool, dry_run: bool) -> None:
        """Make one.

        Args:
            box: Where the letters are.
            judge: Tells which could be used now.
            even_unusable: Replay those too that could not.
            dry_run: Publish nothing.

        """
        self._box = box
        self._judge = judge
        self._even_unusable = even_unusable
        self._dry_run = dry_run

    def run(self, ledger: Ledger, keys: Iterable[str], advance: Callable[[int], None]) -> Report:
        """Replay letters, whatever their status.

        Raises:
            KafkaAwayError: Kafka cannot be reached any more; what was published is marked, but for a few.

        """
        report = Report()
        entries = [ledger.letters[key] for key in keys]
        for chunk in _chunks(self._box.letters(entries)):
            for outcome in self._replayed(ledger, chunk):
                report.note(outcome)
            advance(len(chunk))
        return report

    def _replayed(self, ledger: Ledger, letters: Iterable[Letter]) -> Iterator[Outcome]:
        published: list[tuple[Letter, Any]] = []
        for letter in letters:
            sent = self._published(letter)
            if isinstance(sent, Outcome):
                yield sent
            else:
                published.append((letter, sent))
        marks = []
        for letter, delivery in published:
            try:
                place = self._box.delivered(delivery)
            except NotTakenError as error:
                yield _outcome(letter, Result.NOT_POSSIBLE, str(error))
                continue
            marks.append(self._box.mark(_entry(ledger, letter), replayed_to=place))
            yield Outcome(key=str(letter.origin), result=Result.REPLAYED, replayed_to=place)
        for mark in marks:
            self._box.delivered(mark)

    def _published(self, letter: Letter) -> Any:
        """Hand over the event of a letter; an Outcome where that is not to be, or with a dry run."""
        try:
            content = content_of(letter, self._box.original)
        except UnfaithfulError as error:
            return _outcome(letter, Result.NOT_POSSIBLE, str(error))
        if letter.origin.topic not in self._box.topics:
            return _outcome(letter, Result.NOT_POSSIBLE, str(self._judge.objection(letter, content)))
        objection = None if self._even_unusable else self._judge.objection(letter, content)
        if objection is not None:
            return _outcome(letter, Result.NOT_USABLE, objection)
        if self._dry_run:
            return Outcome(key=str(letter.origin), result=Result.REPLAYED)
        return self._sent(letter, content)

    def _sent(self, letter: Letter, content: Content) -> Any:
        try:
            return self._box.publish(letter.origin, content.key, content.value, replayed_headers(letter, content))
        except NotTakenError as error:
            return _outcome(letter, Result.NOT_POSSIBLE, str(error))


def await_fates(
    box: Box,
    report: Report,
    before: dict[int, int],
    offsets: Callable[[], dict[str, int]],
    seconds: float,
    advance: Callable[[int], None],
) -> None:
    """Wait until the workers have taken what was replayed, and note what became of it.

    Args:
        box: Where the letters are.
        report: Of the replay; the fates are noted in it.
        before: Where the dead-letter topic ended before anything was published.
        offsets: Reads the offsets stored in Redis.
        seconds: How long to wait at most.
        advance: Called with how many more the workers have taken.

    Raises:
        SalesfxError: Redis or Kafka cannot be asked.

    """
    deadline = time.monotonic() + seconds
    waiting = set(report.places)
    while True:
        stored = offsets()
        taken = {place for place in waiting if _is_taken(box, stored, place)}
        waiting -= taken
        advance(len(taken))
        if not waiting or time.monotonic() > deadline:
            break
        time.sleep(_LOOK_SECONDS)
    # After the offsets: a worker writes a letter before it commits the batch.
    refused: dict[Place, str] = {}
    for letter in box.letters_since(before):
        if letter.origin in report.places:
            refused.setdefault(letter.origin, f"{letter.reason}: {letter.detail}")
    for place in report.places:
        if place in refused:
            report.note_fate(place, Status.REFUSED_AGAIN, refused[place])
        else:
            report.note_fate(place, Status.WAITING if place in waiting else Status.MERGED)


def _is_taken(box: Box, offsets: dict[str, int], place: Place) -> bool:
    return offsets.get(partition_field(box.topics[place.topic], place.partition), 0) > place.offset


def _outcome(letter: Letter, result: Result, detail: str) -> Outcome:
    return Outcome(key=str(letter.origin), result=result, detail=detail)


def _entry(ledger: Ledger, letter: Letter) -> Entry:
    return ledger.letters[str(letter.origin)]


def _chunks(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    chunk: list[Letter] = []
    size = 0
    for letter in letters:
        chunk.append(letter)
        size += len(letter.value or b"")
        if len(chunk) >= _CHUNK_LETTERS or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
