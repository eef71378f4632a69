"""What a withdrawal may change in the tables: names of salespeople, and nothing else. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from salesfx.fold import decode_lead
from salesfx.forgotten import Kind
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


def _renamed(field: str, tokens: Mapping[str, str]) -> str:
    metric, bar, dimension = field.partition("|")
    head, sign, name = dimension.partition(_PERSON)
    is_person = sign and (not head or head.startswith("category="))
    return f"{metric}{bar}{head}{sign}{tokens.get(name, name)}" if is_person else field


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

    def __init__(self, kind: Kind, values: Iterable[str]) -> None:
        """Make one; `add` is given the records."""
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


def _named(kind: Kind, facts: Any) -> str | None:
    named: str | None = facts.salesperson if kind is Kind.SALESPERSON else facts.account_id
    return named


_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?")


class Trace(NamedTuple):
    """A text that still holds a value after the withdrawal."""

    where: str
    """Reference of the record, or name of the table."""
    text: str
    """What holds it, shortened."""


def traces(where: str, content: bytes, values: Iterable[str]) -> Iterator[Trace]:
    """Find texts of a record that hold a value as a word of its own, capitals or not.

    Plain numbers are left out: where ids are numbers, amounts and other entities' ids are often the same.
    """
    texts = [where, *_texts(msgspec.msgpack.decode(content))]
    for text in texts:
        if not _NUMBER.fullmatch(text) and any(holds(text, value) for value in values):
            yield Trace(where, text[:100])


def holds(text: str, value: str) -> bool:
    """Tell whether a text holds a value, with no letter or digit directly before or behind it."""
    text, value = text.casefold(), value.casefold()
    start = text.find(value)
    while start >= 0:
        end = start + len(value)
        if not text[start - 1 : start].isalnum() and not text[end : end + 1].isalnum():
            return True
        start = text.find(value, start + 1)
    return False


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
