"""From one number of the tables to the leads, quotes and deals that make it up.

The types are the JSON of `salesfx explain --json` and `/api/explain`; docs/explain.md tells of it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from itertools import islice

import msgspec

from salesfx.attribution import LEAD_METRICS, METRICS, Contribution, of_account, of_lead
from salesfx.errors import SalesfxError
from salesfx.events import DealClosed, LeadCreated, QuoteSent
from salesfx.fold import decode_account, decode_lead, decode_standing
from salesfx.kpi import Breakdown, source_of, summarise
from salesfx.language import LANGUAGES, Language
from salesfx.lead import ACCOUNT, DEAL, HOMES, LEAD, QUOTE, Lead, Standing
from salesfx.money import decimal_string
from salesfx.reading.month import Month
from salesfx.reading.numbers import Numbers, Person, of_month
from salesfx.reading.prefilter import Prefilter
from salesfx.reading.reader import Reader, with_views
from salesfx.reading.reasons import About, Decider, Reason, Reasons, not_told, reasons
from salesfx.reading.report import CATEGORIES
from salesfx.rules import Rules
from salesfx.settings import Settings
from salesfx.tables.layout import MONTH
from salesfx.tables.store import View

CONVERSION = "conversion"
NAMES = (*METRICS, CONVERSION)
"""What can be explained."""
_PARTS = {CONVERSION: ("new_customers", "qualified_leads")}
_TOPICS = {LEAD: LeadCreated.topic, QUOTE: QuoteSent.topic, DEAL: DealClosed.topic}
_CHUNK = 1000

Advance = Callable[[int], None]
"""Told of records that have been looked at."""


class QuestionError(SalesfxError):
    """What is asked for does not exist, so there is no number to be explained."""

    exit_status = 2


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Which number."""

    month: Month
    metric: str
    source: str | None = None
    salesperson: str | None = None
    category: str | None = None
    limit: int | None = None
    """How many contributions to list; None: all. It changes neither sum nor count."""
    lang: str = "en"
    """Of the sentences that say why."""

    def __post_init__(self) -> None:
        """Refuse a number that the tables do not have.

        Raises:
            QuestionError: There is no such metric, or it is not broken down like this.

        """
        if self.metric not in NAMES:
            raise QuestionError(f"{self.metric[:50]!r} is no metric: it is one of {', '.join(NAMES)}.")
        by_category = METRICS[self.parts[0]].breakdown is Breakdown.CATEGORY
        if by_category and self.source is not None:
            raise QuestionError(
                f"{self.metric} is not broken down by source; it has category, salesperson, and both together."
            )
        if not by_category and self.category is not None:
            raise QuestionError(f"{self.metric} is not broken down by category; it has source or salesperson.")
        if self.source is not None and self.salesperson is not None:
            raise QuestionError(
                f"{self.metric} is broken down by source and by salesperson, each by itself; the tables have no number of "
                "both. Ask for one of them."
            )
        if self.lang not in LANGUAGES:
            raise QuestionError(f"{self.lang[:50]!r} is no language of ours: it is one of {', '.join(LANGUAGES)}.")
        for name, value in self.filters.items():
            if not is_text(value):
                raise QuestionError(f"{name}: {value[:50]!r} is no text, so nothing has that name.")
        if self.category is not None and self.category not in CATEGORIES:
            raise QuestionError(f"{self.category[:50]!r} is no category: it is one of {', '.join(CATEGORIES)}.")

    @property
    def parts(self) -> tuple[str, ...]:
        """The metrics of the tables that it is about."""
        return _PARTS.get(self.metric, (self.metric,))

    @property
    def filters(self) -> dict[str, str]:
        """What the number is restricted to, by dimension."""
        given = {"source": self.source, "salesperson": self.salesperson, "category": self.category}
        return {name: value for name, value in given.items() if value is not None}

    def asks_for(self, contribution: Contribution) -> bool:
        """Tell whether a contribution belongs to the number."""
        return (
            contribution.date.startswith(f"{self.month}-")
            and self.source in {None, contribution.source}
            and self.salesperson in {None, contribution.salesperson}
            and self.category in {None, contribution.category}
        )

    def number(self, numbers: Numbers, metric: str) -> int:
        """Find the number in the month's table."""
        if self.salesperson is not None:
            by_source = METRICS[metric].breakdown is Breakdown.SOURCE
            categories = ("",) if by_source else CATEGORIES if self.category is None else (self.category,)
            people = numbers.by_person[metric]
            return sum(people.get(Person(self.salesperson, category), 0) for category in categories)
        label = self.source if self.category is None else self.category
        return numbers.total(metric) if label is None else numbers.by_label[metric].get(label, 0)


def is_text(given: str) -> bool:
    """Tell whether an argument of a command is text: its bytes may have been anything."""
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True


class Why(msgspec.Struct, frozen=True):
    """One reason for which something counts where it counts."""

    about: About
    says: str
    """A sentence without a full stop."""


class Place(msgspec.Struct, frozen=True):
    """Where an entity's winning event lies in Kafka, and what it decides here."""

    decides: About
    kind: str
    id: str
    topic: str
    partition: int
    offset: int


class Shown(msgspec.Struct, frozen=True):
    """One contribution."""

    kind: str
    """lead, quote or deal."""
    id: str
    lead: str | None
    """Id of its lead; None where it has none."""
    account: str | None
    """Id of its account; None where nobody names one."""
    date: str
    source: str
    category: str | None
    salesperson: str
    number: int | str
    why: list[Why]
    events: list[Place]


class Explanation(msgspec.Struct, frozen=True):
    """One number, and what makes it up: the greatest first, then the latest."""

    month: str
    metric: str
    currency: str
    filters: dict[str, str]
    number: int | str
    """What the tables show."""
    sum: int | str
    """Of all contributions, listed or not."""
    count: int
    """How many there are, listed or not."""
    exact: bool
    """Whether the number is the sum."""
    contributions: list[Shown]


class ConversionExplanation(msgspec.Struct, frozen=True):
    """A conversion, by its two parts."""

    month: str
    metric: str
    currency: str
    filters: dict[str, str]
    ratio: float | None
    exact: bool
    new_customers: Explanation
    qualified_leads: Explanation


async def explain(
    reader: Reader, settings: Settings, question: Question, advance: Advance = lambda _: None
) -> Explanation | ConversionExplanation:
    """Find what makes up a number; everything is of one instant.

    Raises:
        SalesfxError: What `Reader.view` raises.

    """
    return await with_views(
        lambda: reader.view([f"{MONTH}{question.month}"]), lambda view: _answer(view, settings, question, advance)
    )


async def _answer(
    view: View, settings: Settings, question: Question, advance: Advance
) -> Explanation | ConversionExplanation:
    parts = [await _Explainer(view, settings, question, metric).explanation(advance) for metric in question.parts]
    if len(parts) == 1:
        return parts[0]
    customers, qualified = parts
    ratio = int(customers.number) / int(qualified.number) if qualified.number else None
    return ConversionExplanation(
        str(question.month),
        question.metric,
        customers.currency,
        question.filters,
        ratio,
        customers.exact and qualified.exact,
        customers,
        qualified,
    )


class _Kept:
    """The first of many contributions, and the sum of all: no more than twice the limit is held."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._kept: list[Contribution] = []
        self.sum = self.count = 0

    def add(self, contribution: Contribution) -> None:
        self.sum += contribution.number
        self.count += 1
        self._kept.append(contribution)
        if self._limit is not None and len(self._kept) > 2 * self._limit + _CHUNK:
            self._kept = self.first()

    def first(self) -> list[Contribution]:
        return sorted(self._kept, key=lambda each: each.rank)[: self._limit]


class _Explainer:
    """One metric's part of an answer."""

    def __init__(self, view: View, settings: Settings, question: Question, metric: str) -> None:
        self._view = view
        self._question = question
        self._metric = metric
        self._rules = Rules(settings.definitions)
        self._prefilter = Prefilter(metric, question.month, settings.sales_cycle_days)
        self._shower = Shower(view, settings, self._rules, Language(question.lang))

    async def explanation(self, advance: Advance) -> Explanation:
        question, kept = self._question, _Kept(self._question.limit)
        async for chunk in _ahead(self._view.scan(*self._kinds())):
            for contribution in self._of_chunk(chunk):
                if contribution.metric == self._metric and question.asks_for(contribution):
                    kept.add(contribution)
            advance(len(chunk))
        number = question.number(of_month(self._view.snapshot.tables[f"{MONTH}{question.month}"]), self._metric)
        return Explanation(
            month=str(question.month),
            metric=self._metric,
            currency=msgspec.json.decode(self._view.snapshot.definitions)["currency"],
            filters=question.filters,
            number=in_units(self._metric, number),
            sum=in_units(self._metric, kept.sum),
            count=kept.count,
            exact=number == kept.sum,
            contributions=await self._shower.shown(kept.first()),
        )

    def _kinds(self) -> tuple[str, ...]:
        return (LEAD,) if self._metric in LEAD_METRICS else (ACCOUNT, *HOMES)

    def _of_chunk(self, chunk: Mapping[str, bytes]) -> Iterator[Contribution]:
        for ref, record in chunk.items():
            is_account = ref.startswith(ACCOUNT)
            if not (self._prefilter.of_account(record) if is_account else self._prefilter.of_lead(record)):
                continue
            if is_account:
                yield from of_account(ref, decode_account(record).statements, self._rules)
            elif self._metric in LEAD_METRICS:
                yield from of_lead(ref, decode_lead(record), self._rules)
            else:
                yield from of_own_account(ref, decode_lead(record), self._rules)


async def _ahead(chunks: AsyncIterator[dict[str, bytes]]) -> AsyncIterator[dict[str, bytes]]:
    """Let Redis look for the next chunk while this one is looked at."""

    async def following() -> dict[str, bytes] | None:
        return await anext(chunks, None)

    pending = asyncio.create_task(following())
    try:
        while (chunk := await pending) is not None:
            pending = asyncio.create_task(following())
            await asyncio.sleep(0)  # the task begins, so the command goes out
            yield chunk
    finally:
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)


def of_own_account(ref: str, lead: Lead, rules: Rules) -> Iterator[Contribution]:
    """Give the sales of a lead or stand-in whose account nobody names."""
    own = summarise(ref, lead, rules).statements.get(ref)
    if own is not None:
        yield from of_account(ref, {ref: own}, rules)


class Shower:
    """Puts contributions into words, with what their leads and the records of places say."""

    def __init__(self, view: View, settings: Settings, rules: Rules, language: Language) -> None:
        self._view = view
        self._rules = rules
        self._language = language
        self._topics = {kind: settings.kafka_topic(topic) for kind, topic in _TOPICS.items()}

    async def shown(self, contributions: Iterable[Contribution]) -> list[Shown]:
        """Show contributions, in their order."""
        rest, shown = iter(contributions), []
        while some := list(islice(rest, _CHUNK)):
            records = await self._view.read({each.lead for each in some})
            leads = {ref: decode_lead(record) for ref, record in records.items() if record is not None}
            found = [self._reasons(each, leads) for each in some]
            own = {ref: lead.own for ref, lead in leads.items()}
            refs = {decider.entity for _, deciders in found for decider in deciders} - own.keys()
            standings = await self._view.read(refs)
            for ref, record in standings.items():
                own[ref] = None if record is None else decode_standing(record)
            for each, (why, deciders) in zip(some, found, strict=True):
                shown.append(self._one(each, leads.get(each.lead), why, list(self._places(deciders, own))))
        return shown

    def _reasons(self, contribution: Contribution, leads: Mapping[str, Lead]) -> Reasons:
        try:
            return reasons(contribution, leads[contribution.lead], self._rules)
        except KeyError:
            return not_told(contribution)

    def topic(self, kind: str) -> str:
        """Name the topic in Kafka of leads, quotes or deals."""
        return self._topics[kind + ":"]

    def _places(self, deciders: Iterable[Decider], standings: Mapping[str, Standing | None]) -> Iterator[Place]:
        """Say where the winning events of entities lie."""
        for decider in deciders:
            kind, key = split(decider.entity)
            if (at := standings[decider.entity]) is not None:
                yield Place(decider.decides, kind, key, self.topic(kind), at.partition, at.offset)

    def _one(self, contribution: Contribution, lead: Lead | None, why: list[Reason], events: list[Place]) -> Shown:
        kind, key = split(contribution.entity)
        source = contribution.source
        if source is None:
            source = source_of(contribution.lead, lead or Lead(), self._rules)
        return Shown(
            kind=kind,
            id=key,
            lead=contribution.lead.removeprefix(LEAD) if contribution.lead.startswith(LEAD) else None,
            account=(contribution.account.removeprefix(ACCOUNT) if contribution.account.startswith(ACCOUNT) else None),
            date=contribution.date,
            source=source,
            category=contribution.category,
            salesperson=contribution.salesperson,
            number=in_units(contribution.metric, contribution.number),
            why=[Why(each.about, self._language.reason(each.sentence, each.values)) for each in why],
            events=events,
        )


def split(ref: str) -> tuple[str, str]:
    """Take a reference apart into kind and id."""
    kind, _, key = ref.partition(":")
    return kind, key


def in_units(metric: str, number: int) -> int | str:
    """Write a number as the JSON has it: money as a decimal string."""
    return decimal_string(number) if METRICS[metric].is_value else number
