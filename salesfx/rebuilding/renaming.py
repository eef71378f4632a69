"""What a withdrawal may change in the tables: names of salespeople, and nothing else. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from salesfx.fold import decode_lead
from salesfx.forgotten import TOKEN_PREFIX, Forgotten, Kind
from salesfx.kpi import Cells
from salesfx.lead import LEAD, Lead
from salesfx.rebuilding.steps import Monthly

_PERSON = "salesperson="
_LIKE = 20
"""Most similar names that are told."""


def unequal(live: Cells | Monthly, new: Cells | Monthly, tokens: Mapping[str, str]) -> list[str]:
    """Name the cells that differ otherwise than by the names of salespeople.

    Args:
        live: Cells or totals by (when, metric|dimension), as they were.
        new: As they are with the names withdrawn.
        tokens: What stands for each salesperson.

    """
    renamed = {(when, _renamed(field, tokens)): number for (when, field), number in live.items()}
    found = {at for at in renamed.keys() | new.keys() if renamed.get(at, 0) != new.get(at, 0)}
    if len(renamed) != len(live):
        found.add(("", "two salespeople have become one"))
    return sorted(f"{when} {field}".strip() for when, field in found)


def people_withdrawn(cells: Iterable[tuple[str, str]], forgotten: Forgotten) -> dict[str, str]:
    """Give, by name, what stands for the salespeople of cells, as `unequal` is given them, that a list withdraws."""
    names = {person[1] for _, field in cells if (person := _person(field)) is not None}
    return {name: token for name in names if (token := forgotten.token_of(Kind.SALESPERSON, name)) is not None}


def _renamed(field: str, tokens: Mapping[str, str]) -> str:
    person = _person(field)
    return field if person is None else person[0] + tokens.get(person[1], person[1])


def _person(field: str) -> tuple[str, str] | None:
    """Take a cell of a salesperson apart: what is before the name, and the name."""
    metric, bar, dimension = field.partition("|")
    head, sign, name = dimension.partition(_PERSON)
    is_person = sign and (not head or head.startswith("category="))
    return (f"{metric}{bar}{head}{sign}", name) if is_person else None


_TOKEN = re.compile(re.escape(TOKEN_PREFIX) + "[0-9a-f]+")


def same_cells(differ: Iterable[str], others: Iterable[str]) -> bool:
    """Tell whether the same cells differ, whatever tokens were drawn."""
    first, second = (Counter(_TOKEN.sub(TOKEN_PREFIX, each) for each in names) for names in (differ, others))
    return first == second


class Mentions(msgspec.Struct):
    """How often the records name something."""

    leads: int = 0
    quotes: int = 0
    deals: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.leads + self.quotes + self.deals


class Mentioned:
    """Counts what names some values, over all leads and stand-ins."""

    def __init__(self, kind: Kind | None, values: Iterable[str]) -> None:
        """Make one; `add` is given the records. Of no kind nothing is counted."""
        self._kind = kind
        self.of = {value: Mentions() for value in values}
        self._alike = {value.casefold().replace(" ", ""): value for value in self.of}
        self.similar: Counter[str] = Counter()
        """Names that differ from one of the values in capitals and spaces only, by how often they are there."""
        self.leads_of: dict[str, None] = {}
        """Ids of leads of the accounts, which are not withdrawn with these."""

    def add(self, ref: str, content: bytes) -> None:
        """Count in one lead or stand-in, by its record."""
        lead = decode_lead(content)
        if self._kind is Kind.LEAD:
            self._add_lead(ref, lead)
            return
        if lead.facts is not None:
            self._note(_named(self._kind, lead.facts), "leads")
            if self._kind is Kind.ACCOUNT and ref.startswith(LEAD) and lead.facts.account_id in self.of:
                self.leads_of[ref.removeprefix(LEAD)] = None
        for quote in lead.quotes.values():
            self._note(_named(self._kind, quote), "quotes")
        for deal in lead.deals.values():
            self._note(_named(self._kind, deal), "deals")

    def _add_lead(self, ref: str, lead: Lead) -> None:
        mentions = self.of.get(ref.removeprefix(LEAD)) if ref.startswith(LEAD) else None
        if mentions is not None:
            mentions.leads += lead.own is not None
            mentions.quotes += len(lead.quotes)
            mentions.deals += len(lead.deals)

    def _note(self, value: str | None, what: str) -> None:
        if value is None:
            return
        mentions = self.of.get(value)
        if mentions is not None:
            setattr(mentions, what, getattr(mentions, what) + 1)
        elif self._is_similar(value) and (value in self.similar or len(self.similar) < _LIKE):
            self.similar[value] += 1

    def _is_similar(self, value: str) -> bool:
        return self._kind is Kind.SALESPERSON and value.casefold().replace(" ", "") in self._alike


def _named(kind: Kind | None, facts: Any) -> str | None:
    named: str | None = facts.salesperson if kind is Kind.SALESPERSON else facts.account_id
    return named


_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?")
_WORD = re.compile(r"[^\W_]+")
MOST_TRACES = 1000
_MOST_ALIKE = 20
"""Records that are listed with the same text: a source that is called like a person stands in thousands."""


class Trace(NamedTuple):
    """A text that still holds a value after the withdrawal."""

    where: str
    """Reference of the record."""
    text: str
    """What holds it, shortened."""


class Traces:
    """Searches records for texts that hold a value as a word of its own, capitals or not.

    Plain numbers are left out: where ids are numbers, amounts and other entities' ids are often the same. The tables are
    made from the records, so they have no text that these have not.
    """

    def __init__(self, values: Iterable[str]) -> None:
        """Make one; `add` is given the records."""
        self._by_word: dict[str, list[tuple[int, str]]] = {}
        """Values by their first word, with where that begins in them."""
        self._wordless: list[str] = []
        for value in {value.casefold() for value in values}:
            word = _WORD.search(value)
            if word is None:
                self._wordless.append(value)
            else:
                self._by_word.setdefault(word[0], []).append((word.start(), value))
        self._times: Counter[str] = Counter()
        self.found: list[Trace] = []
        """At most `MOST_TRACES`."""

    def add(self, ref: str, content: bytes) -> None:
        """Search one record."""
        if len(self.found) >= MOST_TRACES:
            return
        for text in (ref, *_texts(msgspec.msgpack.decode(content))):
            if not _NUMBER.fullmatch(text) and self._holds_one(text.casefold()):
                self._note(Trace(ref, text[:100]))

    def _holds_one(self, text: str) -> bool:
        for word in _WORD.finditer(text):
            for before, value in self._by_word.get(word[0], ()):
                if _stands_at(text, word.start() - before, value):
                    return True
        return any(value in text for value in self._wordless)

    def _note(self, trace: Trace) -> None:
        self._times[trace.text] += 1
        if self._times[trace.text] <= _MOST_ALIKE and len(self.found) < MOST_TRACES:
            self.found.append(trace)


def _stands_at(text: str, start: int, value: str) -> bool:
    """Tell whether a text has a value at a place, with no letter or digit directly before or behind it."""
    end = start + len(value)
    is_there = start >= 0 and text.startswith(value, start)
    return is_there and not text[max(0, start - 1) : start].isalnum() and not text[end : end + 1].isalnum()


def _texts(decoded: Any) -> Iterator[str]:
    if isinstance(decoded, str):
        yield decoded
    elif isinstance(decoded, list):
        for each in decoded:
            yield from _texts(each)
    elif isinstance(decoded, dict):
        for name, each in decoded.items():
            yield from _texts(name)
            yield from _texts(each)
