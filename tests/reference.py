"""The KPI tables, computed the plain way: from a list of all events, at once.

It is written from the description of the numbers alone and shares no code with the package (only the type of the
settings), so that the two can be compared. It keeps no state, merges nothing and knows no order of arrival: it reads
every event, picks the winning version of each entity, puts the entities under their leads and the won deals under their
accounts, and then works out each rule by itself. "Rule n" in a comment is the n-th rule of "From events to numbers".
200,000 events take it about ten seconds.

A cell is `(when, "metric|dimension")`: `when` is a local date `YYYY-MM-DD`, and for leads a local hour
`YYYY-MM-DDTHH` as well. Values are integers: counts, and hundredths of the reporting currency.
"""

import json
import re
import unicodedata
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from math import floor
from typing import TypeVar
from zoneinfo import ZoneInfo

from salesfx.definitions import Definitions, Rate

LEAD, QUOTE, DEAL = "lead_created", "quote_sent", "deal_closed"
OWN_ID = {LEAD: "lead_id", QUOTE: "quote_id", DEAL: "deal_id"}
OUTCOMES = ("won", "lost", "open")
CATEGORIES = ("new_account", "expansion", "returning")

LONGEST_MESSAGE = 64 * 1024  # bytes
LONGEST_ID = 200
LONGEST_NAME = 100
GREATEST_INTEGER = 2**63 - 1
AMOUNT_BOUND = 10**10  # units of the event's currency; itself refused
HUNDREDTHS_BOUND = 10**13  # hundredths of the reporting currency; itself refused
LONGEST_FRACTION = LONGEST_MESSAGE  # decimals; more can only be written with an exponent, as in 1e-999999999

EURO, LEV = "EUR", "BGN"
LEV_PER_EURO = Fraction("1.95583")

INSTANT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
DAY = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
DECIMAL_STRING = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")

Given = TypeVar("Given")
Group = TypeVar("Group")


class RefusedError(Exception):
    """The event cannot be used; it is as if it had not come."""


@dataclass(frozen=True)
class JsonNumber:
    """A JSON number as it was written: no binary float ever stands between the event and its amount."""

    text: str


@dataclass(frozen=True)
class Event:
    """One usable event: the version of one entity. What its topic does not have is None."""

    topic: str
    id: str
    event_id: str
    occurred_at: datetime
    recorded_at: datetime
    revision: int
    retracted: bool
    canonical: bytes
    source: str | None = None
    salesperson: str | None = None
    lead_id: str | None = None
    account_id: str | None = None
    quote_id: str | None = None
    hundredths: int | None = None
    need: str | None = None
    recipient_count: int = 1
    expected_close_on: date | None = None
    outcome: str | None = None
    contract_ends_on: date | None = None
    category: str | None = None


# ---------------------------------------------------------------------------------------------------------------------
# One event


def refused(topic: str, value: bytes, definitions: Definitions) -> bool:
    """Tell whether the event cannot be used under these definitions."""
    try:
        read_event(topic, value, definitions)
    except RefusedError:
        return True
    return False


def read_event(topic: str, value: bytes, definitions: Definitions) -> Event:
    """Read one event, or raise RefusedError."""
    if topic not in OWN_ID:
        raise RefusedError(f"unknown topic {topic}")
    raw = read_object(value)

    event_id = required("event_id", read_id(raw, "event_id"))
    entity_id = required(OWN_ID[topic], read_id(raw, OWN_ID[topic]))
    occurred_at = required("occurred_at", read_instant(raw, "occurred_at"))
    # The version is read of a retraction too: without it the retraction could not be ordered.
    recorded_at = read_instant(raw, "recorded_at") or occurred_at
    revision = read_integer(raw, "revision", least=0, default=0)
    retracted = read_boolean(raw, "retracted")

    # What the canonical bytes are made of: the fields that were read, normalised. None is an absent field.
    content: dict[str, str | int | None] = {
        "event_id": event_id,
        "occurred_at": instant_text(occurred_at),
        "recorded_at": instant_text(recorded_at),
        "revision": revision,
        "retracted": retracted,
        OWN_ID[topic]: entity_id,
    }
    if retracted:  # nothing further is read, so nothing further can be wrong with it
        return Event(topic, entity_id, event_id, occurred_at, recorded_at, revision, True, canonical_bytes(content))

    salesperson = read_name(raw, "salesperson")
    account_id = read_id(raw, "account_id")
    content |= {"salesperson": salesperson, "account_id": account_id}

    source = lead_id = quote_id = need = outcome = category = None
    hundredths = expected_close_on = contract_ends_on = None
    recipient_count = 1

    if topic == LEAD:
        source = read_name(raw, "source")
        content |= {"source": source}

    if topic in (QUOTE, DEAL):
        lead_id = read_id(raw, "lead_id")
        content |= {"lead_id": lead_id}

    if topic == QUOTE:
        need = read_text(raw, "need")
        need = None if need is None else need.strip()[:200]  # as much of it is read
        recipient_count = read_integer(raw, "recipient_count", least=1, default=1)
        expected_close_on = read_day(raw, "expected_close_on", years=(2000, 2100))
        content |= {
            "need": need,
            "recipient_count": recipient_count,
            "expected_close_on": None if expected_close_on is None else expected_close_on.isoformat(),
        }

    if topic == DEAL:
        quote_id = read_id(raw, "quote_id")
        outcome = required("outcome", read_choice(raw, "outcome", OUTCOMES))
        category = read_choice(raw, "category", CATEGORIES)
        # CRMs write an open end as 9999-12-31, so any year will do.
        contract_ends_on = read_day(raw, "contract_ends_on", years=(1, 9999))
        content |= {
            "quote_id": quote_id,
            "outcome": outcome,
            "category": category,
            "contract_ends_on": None if contract_ends_on is None else contract_ends_on.isoformat(),
        }

    if topic == QUOTE or outcome == "won":  # of any other deal the money is not read, not even to refuse it
        amount = required("amount", read_amount(raw, "amount"))
        currency = required("currency", read_currency(raw, "currency"))
        hundredths = convert(amount, currency, local_date(occurred_at, definitions), definitions)
        content |= {"amount": decimal_text(amount), "currency": currency}

    return Event(
        topic=topic,
        id=entity_id,
        event_id=event_id,
        occurred_at=occurred_at,
        recorded_at=recorded_at,
        revision=revision,
        retracted=False,
        canonical=canonical_bytes(content),
        source=source,
        salesperson=salesperson,
        lead_id=lead_id,
        account_id=account_id,
        quote_id=quote_id,
        hundredths=hundredths,
        need=need,
        recipient_count=recipient_count,
        expected_close_on=expected_close_on,
        outcome=outcome,
        contract_ends_on=contract_ends_on,
        category=category,
    )


def read_object(value: bytes) -> dict[str, object]:
    """Read the JSON object itself: at most 64 KiB of strict UTF-8."""
    if len(value) > LONGEST_MESSAGE:
        raise RefusedError("longer than 64 KiB")
    try:
        raw = json.loads(value.decode("utf-8"), parse_float=JsonNumber, parse_int=JsonNumber, parse_constant=not_json)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise RefusedError("not JSON") from error
    if not isinstance(raw, dict):
        raise RefusedError("not a JSON object")
    return raw


def not_json(constant: str) -> object:
    """Python reads NaN and Infinity, JSON has no such thing."""
    raise RefusedError(f"{constant} is not JSON")


def canonical_bytes(content: Mapping[str, str | int | None]) -> bytes:
    """Write what was read of an event in one way only: the last key of the order of versions."""
    present = {name: value for name, value in content.items() if value is not None}
    text = json.dumps(present, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


def required(name: str, value: Given | None) -> Given:
    """Refuse the event where the field is absent."""
    if value is None:
        raise RefusedError(f"no {name}")
    return value


def given(raw: Mapping[str, object], name: str) -> object:
    """Give the field's value, None where it is absent: null and blank are the same as absent, in every field."""
    value = raw.get(name)
    if isinstance(value, str) and value.strip() == "":
        return None
    return value


def read_text(raw: Mapping[str, object], name: str) -> str | None:
    """Read a string, as it came."""
    value = given(raw, name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise RefusedError(f"{name} is not a string")
    if any(unicodedata.category(character) == "Cs" for character in value):
        raise RefusedError(f"{name} holds half a character")  # a lone surrogate, which UTF-8 cannot write
    return value


def has_control_character(text: str) -> bool:
    """Tell whether a character of the category Cc is in the text."""
    return any(unicodedata.category(character) == "Cc" for character in text)


def read_id(raw: Mapping[str, object], name: str) -> str | None:
    """Read an id, exactly as it came: neither trimmed nor normalised."""
    value = read_text(raw, name)
    if value is not None and (len(value) > LONGEST_ID or has_control_character(value)):
        raise RefusedError(f"{name} is too long or holds a control character")
    return value


def read_name(raw: Mapping[str, object], name: str) -> str | None:
    """Read a source or salesperson: trimmed, then NFC, and only then measured."""
    value = read_text(raw, name)
    if value is None:
        return None
    value = unicodedata.normalize("NFC", value.strip())
    if len(value) > LONGEST_NAME or has_control_character(value):
        raise RefusedError(f"{name} is too long or holds a control character")
    return value


def read_choice(raw: Mapping[str, object], name: str, choices: tuple[str, ...]) -> str | None:
    """Read one of a few words, which are taken exactly."""
    value = read_text(raw, name)
    if value is not None and value not in choices:
        raise RefusedError(f"unknown {name}")
    return value


def read_boolean(raw: Mapping[str, object], name: str) -> bool:
    """Read a boolean; absent is false, and nothing but true and false will do."""
    value = given(raw, name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise RefusedError(f"{name} is not a boolean")
    return value


def read_integer(raw: Mapping[str, object], name: str, *, least: int, default: int) -> int:
    """Read an integer from `least` to 2^63-1; 3.0 is as good as 3, a string or a boolean is no integer."""
    value = given(raw, name)
    if value is None:
        return default
    if not isinstance(value, JsonNumber):  # neither a boolean nor a string is an integer
        raise RefusedError(f"{name} is not an integer")
    number = number_to_decimal(value.text)
    # The size is looked at first: 1e999999 is soon written and a very long integer.
    if number != 0 and not -1 < number.adjusted() < 20:
        raise RefusedError(f"{name} is out of range")
    exact = Fraction(number)
    if exact.denominator != 1 or not least <= exact <= GREATEST_INTEGER:
        raise RefusedError(f"{name} is not an integer from {least}")
    return int(exact)


def number_to_decimal(text: str) -> Decimal:
    """Read a number exactly."""
    try:
        number = Decimal(text)  # the constructor is exact, whatever the context's precision
    except InvalidOperation as error:
        raise RefusedError("a number with an exponent beyond all bounds") from error
    return number if number != 0 else Decimal(0)  # -0 and 0e999999 are 0


def read_amount(raw: Mapping[str, object], name: str) -> Decimal | None:
    """Read an amount: a string of digits with at most one point, or a JSON number; from 0 to below 10^10."""
    value = given(raw, name)
    if value is None:
        return None
    if isinstance(value, JsonNumber):
        amount = number_to_decimal(value.text)
    elif isinstance(value, str) and DECIMAL_STRING.fullmatch(value):
        amount = number_to_decimal(value)
    else:
        raise RefusedError(f"{name} is not a decimal")
    if not 0 <= amount < AMOUNT_BOUND:
        raise RefusedError(f"{name} is out of range")
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -LONGEST_FRACTION:
        raise RefusedError(f"{name} has too many decimals")
    return amount


def decimal_text(amount: Decimal) -> str:
    """Write the amount without exponent, trailing zeros or trailing point: equal amounts have equal texts."""
    text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text


def read_currency(raw: Mapping[str, object], name: str) -> str | None:
    """Read a currency code: trimmed and upper-cased."""
    value = read_text(raw, name)
    return None if value is None else value.strip().upper()


def read_instant(raw: Mapping[str, object], name: str) -> datetime | None:
    """Read RFC 3339, the offset required, as an instant in UTC; digits beyond the microsecond drop."""
    value = read_text(raw, name)
    if value is None:
        return None
    match = INSTANT.fullmatch(value)
    if match is None:
        raise RefusedError(f"{name} is not an RFC 3339 instant with an offset")
    year, month, day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups()
    if not 2000 <= int(year) <= 2100:  # as written, not as it is in UTC
        raise RefusedError(f"{name} is not in the years 2000 to 2100")
    offset = timedelta()
    if sign is not None:
        if int(offset_hours) > 23 or int(offset_minutes) > 59:
            raise RefusedError(f"{name} has an impossible offset")
        offset = timedelta(hours=int(offset_hours), minutes=int(offset_minutes))
        if sign == "-":
            offset = -offset
    microsecond = int((fraction or "0")[:6].ljust(6, "0"))
    try:
        written = datetime(
            int(year),
            int(month),
            int(day),
            int(hour),
            int(minute),
            int(second),
            microsecond,
            tzinfo=timezone(offset),
        )
    except ValueError as error:
        raise RefusedError(f"{name} is no instant of the calendar") from error
    return written.astimezone(UTC)


def instant_text(instant: datetime) -> str:
    """Write an instant of UTC, always with six digits."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_day(raw: Mapping[str, object], name: str, *, years: tuple[int, int]) -> date | None:
    """Read a date YYYY-MM-DD."""
    value = read_text(raw, name)
    if value is None:
        return None
    match = DAY.fullmatch(value)
    if match is None:
        raise RefusedError(f"{name} is not a date")
    year, month, day = (int(group) for group in match.groups())
    if not years[0] <= year <= years[1]:
        raise RefusedError(f"{name} is not in the years {years[0]} to {years[1]}")
    try:
        return date(year, month, day)
    except ValueError as error:
        raise RefusedError(f"{name} is no day of the calendar") from error


# ---------------------------------------------------------------------------------------------------------------------
# Settings: local time, money, sources


def local_time(instant: datetime, definitions: Definitions) -> datetime:
    """Tell what the clock shows in the business time zone."""
    return instant.astimezone(ZoneInfo(definitions.timezone))


def local_date(instant: datetime, definitions: Definitions) -> date:
    """Tell the date in the business time zone."""
    return local_time(instant, definitions).date()


def convert(amount: Decimal, currency: str, on: date, definitions: Definitions) -> int:
    """Convert to hundredths of the reporting currency: exact all the way, rounded half up once at the end."""
    exact = Fraction(amount)
    reporting = definitions.currency.strip().upper()
    if currency != reporting:  # what is in the reporting currency already needs no rate
        exact = exact / rate_on(currency, on, definitions) * rate_on(reporting, on, definitions)
    hundredths = floor(exact * 100 + Fraction(1, 2))
    if hundredths >= HUNDREDTHS_BOUND:
        raise RefusedError("the converted amount is out of range")
    return hundredths


def rate_on(currency: str, on: date, definitions: Definitions) -> Fraction:
    """Find the units per euro: the latest rate that holds from no later than the date."""
    if currency == EURO:
        return Fraction(1)
    if currency == LEV:
        return LEV_PER_EURO
    latest: Rate | None = None
    for rate in definitions.rates:
        if rate.currency.strip().upper() != currency or rate.since > on:
            continue
        if latest is None or rate.since > latest.since:
            latest = rate
    if latest is None:
        raise RefusedError(f"no rate for {currency} on {on}")
    return Fraction(latest.per_euro)


def folded_source(text: str) -> str:
    """Trim, NFC, case-fold, and NFC again, since folding can undo it."""
    trimmed = unicodedata.normalize("NFC", text.strip())
    return unicodedata.normalize("NFC", trimmed.casefold())


def named_source(text: str, definitions: Definitions) -> str:
    """Rule 1: case-folded, then the alias, once: an alias of an alias is not followed."""
    source = folded_source(text)
    for alias, target in definitions.source_aliases.items():
        if folded_source(alias) == source:
            return folded_source(target)
    return source


# ---------------------------------------------------------------------------------------------------------------------
# The tables


def version(event: Event) -> tuple[int, datetime, str, bytes]:
    """Give what orders the versions of one entity. No two versions with different content are equal in it."""
    return event.revision, event.recorded_at, event.event_id, event.canonical


def occurred_at_of(event: Event) -> datetime:
    """Tell when it happened."""
    return event.occurred_at


def moment(event: Event) -> tuple[datetime, str]:
    """Give what orders quotes among quotes and deals among deals: when it happened, then the id."""
    return event.occurred_at, event.id


# What a quote or deal lives under: ("lead", lead_id), or a stand-in ("quote", quote_id) or ("deal", deal_id). The first
# part keeps the ids of stand-ins apart from the CRM's.
Home = tuple[str, str]

# An account that has a name, ("account", account_id), or a home that is its own account.
Account = tuple[str, str]


def home_of(event: Event) -> Home:
    """Tell what a quote or deal lives under."""
    if event.lead_id is not None:
        return "lead", event.lead_id
    if event.topic == QUOTE:
        return "quote", event.id
    if event.quote_id is not None:
        # The quote's stand-in, also when that quote itself has a lead: the deal does not follow it there.
        return "quote", event.quote_id
    return "deal", event.id


def grouped(events: Iterable[Event], group_of: Callable[[Event], Group]) -> Mapping[Group, Sequence[Event]]:
    """Put events into groups, in each the earliest first."""
    groups: defaultdict[Group, list[Event]] = defaultdict(list)
    for event in sorted(events, key=moment):
        groups[group_of(event)].append(event)
    return groups


def reference_tables(events: Iterable[tuple[str, bytes]], definitions: Definitions) -> dict[tuple[str, str], int]:
    """Compute the cells of all tables. Cells that come to 0 are absent."""
    winners: dict[tuple[str, str], Event] = {}
    for topic, value in events:
        try:
            event = read_event(topic, value, definitions)
        except RefusedError:
            continue  # rule 8: as if it had not come; the version before it stands
        key = (event.topic, event.id)
        if key not in winners or version(event) > version(winners[key]):
            winners[key] = event

    # Rule 8: an entity whose greatest version withdraws it is as if none of its events had come.
    standing = [event for event in winners.values() if not event.retracted]
    world = World(
        definitions=definitions,
        leads={event.id: event for event in standing if event.topic == LEAD},
        quotes=[event for event in standing if event.topic == QUOTE],
        deals=[event for event in standing if event.topic == DEAL],
    )

    cells: dict[tuple[str, str], int] = {}
    for part in (
        leads_cells(world),
        qualified_cells(world),
        booked_cells(world),
        new_customer_cells(world),
        planned_cells(world),
    ):
        for when, metric, dimension, amount in part:
            cell = (when, f"{metric}|{dimension}")
            cells[cell] = cells.get(cell, 0) + amount
    return {cell: amount for cell, amount in cells.items() if amount != 0}


@dataclass(frozen=True)
class World:
    """All entities that stand, each with the content of its winning version, and questions about them."""

    definitions: Definitions
    leads: Mapping[str, Event]
    quotes: Sequence[Event]
    deals: Sequence[Event]

    def local_date(self, instant: datetime) -> date:
        """Tell the date in the business time zone."""
        return local_date(instant, self.definitions)

    def homes(self) -> list[Home]:
        """List every lead and stand-in that a quote or deal lives under."""
        return sorted({*self.quotes_by_home, *self.deals_by_home})

    @cached_property
    def quotes_by_home(self) -> Mapping[Home, Sequence[Event]]:
        """Put the quotes under their leads and stand-ins, the earliest first."""
        return grouped(self.quotes, home_of)

    @cached_property
    def deals_by_home(self) -> Mapping[Home, Sequence[Event]]:
        """Put the deals under their leads and stand-ins, whatever their outcome, the earliest first."""
        return grouped(self.deals, home_of)

    def quotes_of(self, home: Home) -> Sequence[Event]:
        """List the quotes of a lead or stand-in, the earliest first."""
        return self.quotes_by_home.get(home, [])

    def deals_of(self, home: Home) -> Sequence[Event]:
        """List the deals of a lead or stand-in, whatever their outcome, the earliest first."""
        return self.deals_by_home.get(home, [])

    def lead_of(self, home: Home) -> Event | None:
        """Give the lead's own event, where the home is a lead and its event has come and stands."""
        kind, lead_id = home
        return self.leads.get(lead_id) if kind == "lead" else None

    def source_of(self, home: Home) -> str:
        """Rules 1 and 7."""
        if home[0] != "lead":
            return "unattributed"
        lead = self.lead_of(home)
        if lead is None or lead.source is None:
            return "unknown"
        return named_source(lead.source, self.definitions)

    def salesperson_of(self, event: Event) -> str:
        """Rule 7, for a quote or deal: its own, else its lead's, else nobody's."""
        if event.salesperson is not None:
            return event.salesperson
        lead = self.lead_of(home_of(event))
        if lead is not None and lead.salesperson is not None:
            return lead.salesperson
        return "unassigned"

    def qualifies(self, quote: Event) -> bool:
        """Rule 2."""
        return quote.need is not None and quote.recipient_count <= self.definitions.recipient_limit

    def qualifying_quotes_of(self, home: Home) -> list[Event]:
        """List the qualifying quotes of a lead or stand-in, the earliest first."""
        return [quote for quote in self.quotes_of(home) if self.qualifies(quote)]

    def account_of(self, event: Event) -> Account:
        """Give the account of a quote or deal; without a named one, its lead or stand-in is the account."""
        if event.account_id is not None:
            return "account", event.account_id
        home = home_of(event)
        lead = self.lead_of(home)
        if lead is not None and lead.account_id is not None:
            return "account", lead.account_id
        # Else the latest that names one, whatever its outcome and whether or not it qualifies. Where a quote and a
        # deal have the same time and the same id, the quote is the later.
        naming = [
            sibling for sibling in (*self.deals_of(home), *self.quotes_of(home)) if sibling.account_id is not None
        ]
        if not naming:
            return home
        latest = max(naming, key=lambda sibling: (sibling.occurred_at, sibling.id, sibling.topic == QUOTE))
        return "account", latest.account_id or ""

    @cached_property
    def won_by_account(self) -> Mapping[Account, Sequence[Event]]:
        """Put the won deals under their accounts, under whatever leads they live, the earliest first."""
        return grouped([deal for deal in self.deals if deal.outcome == "won"], self.account_of)

    @cached_property
    def covered_by_account(self) -> Mapping[Account, Sequence[int]]:
        """Tell for each won deal of an account how far it and those before it reach: the coverage that ends last."""
        return {
            account: list(accumulate((self.covered_to(deal) for deal in won), max))
            for account, won in self.won_by_account.items()
        }

    def covered_to(self, deal: Event) -> int:
        """Give the last day that a won deal covers, as an ordinal, which unlike a date cannot overflow."""
        if deal.contract_ends_on is not None:
            return deal.contract_ends_on.toordinal()
        return self.local_date(deal.occurred_at).toordinal() + self.definitions.coverage_days

    def category_after(self, account: Account, earlier: int, instant: datetime) -> str:
        """Rule 5, where there are earlier won deals: the coverage that ends last decides, its last day included.

        `earlier` is how many of the account's won deals are earlier; they are the first ones.
        """
        covered_to = self.covered_by_account[account][earlier - 1]
        return "expansion" if covered_to >= self.local_date(instant).toordinal() else "returning"

    def category_of_deal(self, deal: Event) -> str:
        """Rule 5. The CRM's own category counts only for the account's first deal."""
        account = self.account_of(deal)
        earlier = bisect_left(self.won_by_account.get(account, []), moment(deal), key=moment)
        if earlier == 0:
            return deal.category or "new_account"
        return self.category_after(account, earlier, deal.occurred_at)

    def category_of_quote(self, quote: Event) -> str:
        """Rule 5, for an open quote: at the moment it was sent, after the deals that closed strictly before."""
        account = self.account_of(quote)
        earlier = bisect_left(self.won_by_account.get(account, []), quote.occurred_at, key=occurred_at_of)
        if earlier == 0:
            return "new_account"
        return self.category_after(account, earlier, quote.occurred_at)

    def is_open(self, quote: Event) -> bool:
        """Rule 3: no deal of its lead or stand-in closes it."""
        for deal in self.deals_of(home_of(quote)):
            if deal.outcome == "open":
                continue  # re-opened: closes nothing
            if quote.occurred_at <= deal.occurred_at or deal.quote_id == quote.id:
                return False
        return True


Contribution = tuple[str, str, str, int]  # when, metric, dimension, amount


def leads_cells(world: World) -> list[Contribution]:
    """Rule 1: a lead counts on the date of its creation."""
    cells: list[Contribution] = []
    for lead in world.leads.values():
        created = local_time(lead.occurred_at, world.definitions)
        source = world.source_of(("lead", lead.id))
        salesperson = lead.salesperson or "unassigned"
        day = created.date().isoformat()
        cells.append((day, "leads", f"source={source}", 1))
        cells.append((day, "leads", f"salesperson={salesperson}", 1))
        cells.append((created.strftime("%Y-%m-%dT%H"), "leads", f"source={source}", 1))
    return cells


def qualified_cells(world: World) -> list[Contribution]:
    """Rule 2, and the cohort of rule 6, which stands where the qualified lead stands."""
    cells: list[Contribution] = []
    for home in world.homes():
        quotes = world.qualifying_quotes_of(home)
        if home[0] != "lead" or not quotes:
            continue  # a stand-in is no lead; a lead whose own event has not come is one
        earliest, latest = quotes[0], quotes[-1]
        day = world.local_date(earliest.occurred_at).isoformat()
        won = any(deal.outcome == "won" for deal in world.deals_of(home))
        for dimension in (
            f"source={world.source_of(home)}",
            f"salesperson={world.salesperson_of(earliest)}",
        ):
            cells.append((day, "qualified_leads", dimension, 1))
            cells.append((day, "qualified_leads_value", dimension, latest.hundredths or 0))
            if won:  # by now, whatever its date or category
                cells.append((day, "cohort_customers", dimension, 1))
    return cells


def sales_cells(world: World, metric: str, day: date, category: str, event: Event) -> list[Contribution]:
    """Count one sale by its category, and by its category and salesperson."""
    cells: list[Contribution] = []
    for dimension in (
        f"category={category}",
        f"category={category},salesperson={world.salesperson_of(event)}",
    ):
        cells.append((day.isoformat(), metric, dimension, 1))
        cells.append((day.isoformat(), f"{metric}_value", dimension, event.hundredths or 0))
    return cells


def booked_cells(world: World) -> list[Contribution]:
    """Rule 4: deals that are won, on the date they closed."""
    cells: list[Contribution] = []
    for deal in world.deals:
        if deal.outcome == "won":
            day = world.local_date(deal.occurred_at)
            cells += sales_cells(world, "booked_sales", day, world.category_of_deal(deal), deal)
    return cells


def new_customer_cells(world: World) -> list[Contribution]:
    """Rule 6: won deals of category new_account, at the deal's date and salesperson and its lead's source."""
    cells: list[Contribution] = []
    for deal in world.deals:
        if deal.outcome == "won" and world.category_of_deal(deal) == "new_account":
            day = world.local_date(deal.occurred_at).isoformat()
            cells.append((day, "new_customers", f"source={world.source_of(home_of(deal))}", 1))
            cells.append((day, "new_customers", f"salesperson={world.salesperson_of(deal)}", 1))
    return cells


def planned_cells(world: World) -> list[Contribution]:
    """Rule 3: of each lead or stand-in, the latest of the qualifying quotes that are still open."""
    cells: list[Contribution] = []
    for home in world.homes():
        latest = next((quote for quote in reversed(world.qualifying_quotes_of(home)) if world.is_open(quote)), None)
        if latest is None:
            continue
        day = latest.expected_close_on
        if day is None:
            day = world.local_date(latest.occurred_at) + timedelta(days=world.definitions.sales_cycle_days)
        cells += sales_cells(world, "planned_sales", day, world.category_of_quote(latest), latest)
    return cells
