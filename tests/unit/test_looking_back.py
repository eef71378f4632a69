"""What was known at a time, and what has restated a month since."""

import os
from collections import Counter
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from salesfx.business_time import to_instant
from salesfx.cli.kpi import kpi
from salesfx.cli.restated import restated_
from salesfx.decoder import decode
from salesfx.definitions import Definitions
from salesfx.kpi import Cells
from salesfx.looking_back import Known, Restated, UndatedLogError, known_at, restated
from salesfx.looking_back.arrivals import Arrival
from salesfx.looking_back.folding import MonthFold
from salesfx.looking_back.later import Later
from salesfx.looking_back.restated import VALUES, Kind, Numbers, end_of
from salesfx.reading import Month
from salesfx.reading.numbers import of_month
from salesfx.reading.report import report_of
from salesfx.rules import Rules
from salesfx.settings import Settings
from salesfx.tables.layout import MONTH, by_table
from tests.events_strategy import DEFINITIONS, events
from tests.folding import FoldedTables
from tests.listed_log import CREATE_TIME, ListedLog, snapshot_of
from tests.unit import test_importer

RULES = Rules(DEFINITIONS)
OCTOBER = Month(2026, 10)
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
arrived = st.lists(st.tuples(st.integers(0, 6), events), max_size=14)
"""Events, each with the second after `BEGIN` at which it arrives, not in the order of that: a leader's clock may go back."""


def milliseconds(seconds: float) -> int:
    """Give when so many seconds after `BEGIN` are, as Kafka counts."""
    return to_instant(BEGIN + timedelta(seconds=seconds)) // 1000


def log_of(messages: list[tuple[int, tuple[str, bytes]]]) -> ListedLog:
    """Put messages into a log."""
    return ListedLog((milliseconds(at), topic, value) for at, (topic, value) in messages)


def folded(messages: list[tuple[str, bytes]], rules: Rules = RULES) -> Cells:
    """Make tables of messages in one go."""
    tables = FoldedTables(rules)
    tables.take(messages)
    return tables.cells


def table(cells: Cells, month: Month) -> dict[str, int]:
    """Give the table of a month."""
    return by_table(cells).get(f"{MONTH}{month}", {})


def months_of(cells: Cells) -> list[Month]:
    """Name the months that have any cell."""
    return sorted({Month.parse(when[:7]) for when, _ in cells if when < "2100"})


def cell_numbers(fields: Numbers) -> Counter[str]:
    """Read numbers back from JSON, money as hundredths."""
    numbers: Counter[str] = Counter()
    for field, number in fields.items():
        is_value = field.partition("|")[0] in VALUES
        assert isinstance(number, str) is is_value
        numbers[field] = int(Decimal(number) * 100) if isinstance(number, str) else number
    return numbers


def sum_of(listed: list[Numbers]) -> dict[str, int]:
    """Add up what is listed; 0 is left out."""
    total: Counter[str] = Counter()
    for fields in listed:
        for field, number in cell_numbers(fields).items():
            total[field] += number
    return {field: number for field, number in total.items() if number}


def difference(then: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """Subtract one table from another; 0 is left out."""
    fields = {field: now.get(field, 0) - then.get(field, 0) for field in then.keys() | now.keys()}
    return {field: number for field, number in fields.items() if number}


def silent(*_: Any) -> None:
    """Show no progress."""


async def known(log: ListedLog, cells: Cells, month: Month, moment: datetime, rules: Rules = RULES) -> Known:
    """Look back at a month."""
    return await known_at(
        log, snapshot_of(cells, rules.definitions, log.offsets), rules.definitions, month, moment, silent
    )


async def changed(log: ListedLog, cells: Cells, month: Month, since: datetime, rules: Rules = RULES) -> Restated:
    """Tell how a month has changed."""
    return await restated(
        log, snapshot_of(cells, rules.definitions, log.offsets), rules.definitions, month, since, silent
    )


@settings(max_examples=300, deadline=None)
@given(arrived, st.integers(0, 6))
async def test_what_was_known_is_the_table_of_what_had_arrived(
    messages: list[tuple[int, tuple[str, bytes]]], seconds: int
) -> None:
    """For every set of events and every moment, in every month; also where timestamps go back within a partition."""
    log, all_cells = log_of(messages), folded([message for _, message in messages])
    by_then = folded([message for at, message in messages if at <= seconds])
    for month in {*months_of(all_cells), *months_of(by_then), OCTOBER}:
        seen = await known(log, all_cells, month, BEGIN + timedelta(seconds=seconds))
        assert seen.report == report_of(of_month(table(by_then, month)), month, "EUR")
        assert seen.events + seen.later == len(messages)


@settings(max_examples=300, deadline=None)
@given(arrived, st.integers(-1, 6))
async def test_what_restated_events_list_adds_up_to_the_difference(
    messages: list[tuple[int, tuple[str, bytes]]], seconds: int
) -> None:
    """To the letter, cell by cell: by event, and by the leads, quotes and deals whose contribution each event changed."""
    log, now = log_of(messages), folded([message for _, message in messages])
    then = folded([message for at, message in messages if at <= seconds])
    for month in {*months_of(now), *months_of(then), OCTOBER}:
        answer = await changed(log, now, month, BEGIN + timedelta(seconds=seconds))
        assert answer.agrees
        assert answer.events_before + answer.events_after == len(messages)
        differs = difference(table(then, month), table(now, month))
        assert sum_of([event.changes for event in answer.events]) == differs
        for event in answer.events:
            assert sum_of(list(event.by_entity.values())) == cell_numbers(event.changes)
        assert answer.then == report_of(of_month(table(then, month)), month, "EUR")
        assert answer.now == report_of(of_month(table(now, month)), month, "EUR")
        cells = {f"{each.metric}|{each.of}": each.difference for each in answer.changes if each.of != "total"}
        assert sum_of([cells]) == differs


@settings(max_examples=100, deadline=None)
@given(arrived)
async def test_each_event_has_just_what_it_added(messages: list[tuple[int, tuple[str, bytes]]]) -> None:
    """The events that came before one, and itself, make the table that its change leads to."""
    log, now = log_of(messages), folded([message for _, message in messages])
    answer = await changed(log, now, OCTOBER, BEGIN - timedelta(seconds=1))
    listed = {(event.topic, event.offset): event.changes for event in answer.events}
    tables, before = FoldedTables(RULES), dict[str, int]()
    for arrival in log.arrivals():
        tables.take([(arrival.topic, arrival.value or b"")])
        after = table(tables.cells, OCTOBER)
        assert sum_of([listed.get((arrival.topic, arrival.offset), {})]) == difference(before, after)
        before = after


@pytest.mark.parametrize(
    ("command", "arguments", "sentence"),
    [
        (kpi, ["--month", "2026-10", "--known-at", "2099-01-01"], "has not come yet; leave --known-at out"),
        (kpi, ["--month", "2026-10", "--known-at", "yesterday"], "'yesterday'"),
        (restated_, ["2026-10", "--since", "2099-01-01T00:00:00Z"], "has not come yet; nothing can have changed since"),
        (restated_, ["2099-01"], "2099-01 has not ended; --since TIME"),
        (restated_, ["9999-12"], "9999-12 has not ended; --since TIME"),
        (restated_, ["2026-13"], "'2026-13' is not a month"),
    ],
)
def test_moments_that_have_not_come_are_refused(command: click.Command, arguments: list[str], sentence: str) -> None:
    """As usage errors, before any server is asked."""
    result = CliRunner().invoke(command, arguments, obj=Settings(kafka="127.0.0.1:1", redis="redis://127.0.0.1:1"))
    assert (result.exit_code, result.exception.__class__) == (2, SystemExit)
    assert sentence in result.output


def event(topic: str, key: str, occurred_at: str, **fields: Any) -> tuple[str, bytes]:
    """Write an event of the entity `key`."""
    entity = {"lead_created": "lead_id", "quote_sent": "quote_id", "deal_closed": "deal_id"}[topic]
    content = {"event_id": f"{key}-1", entity: key, "occurred_at": occurred_at, **fields}
    return topic, msgspec.json.encode(content)


def won(key: str, occurred_at: str, amount: str, **fields: Any) -> tuple[str, bytes]:
    """Write a won deal of the account A."""
    return event(
        "deal_closed", key, occurred_at, account_id="A", outcome="won", amount=amount, currency="EUR", **fields
    )


async def test_each_kind_of_event_is_told_apart() -> None:
    """A late deal, a corrected one, one that is withdrawn, and later business of a lead of the month."""
    messages = [
        (-9, event("lead_created", "L", "2026-10-01T09:00:00Z", source="web")),
        (-9, event("quote_sent", "Q", "2026-10-02T09:00:00Z", lead_id="L", amount="50", currency="EUR", need="crm")),
        (-9, won("D1", "2026-10-20T09:00:00Z", "100")),
        (-9, won("D2", "2026-10-21T09:00:00Z", "10")),
        (1, won("D0", "2026-10-10T09:00:00Z", "30")),
        (2, won("D1", "2026-10-20T09:00:00Z", "120.50", revision=1)),
        (3, event("deal_closed", "D2", "2026-10-21T09:00:00Z", revision=1, retracted=True)),
        (4, won("D3", "2026-11-02T09:00:00Z", "50", lead_id="L")),
        (5, event("lead_created", "M", "2026-11-02T09:00:00Z")),
    ]
    rules = Rules(Definitions())
    log, now = log_of(messages), folded([message for _, message in messages], rules)
    answer = await changed(log, now, OCTOBER, BEGIN, rules)
    assert [(each.kind, each.entity) for each in answer.events] == [
        (Kind.LATE, "deal:D0"),
        (Kind.CORRECTION, "deal:D1"),
        (Kind.RETRACTION, "deal:D2"),
        (Kind.NEW, "deal:D3"),
    ]
    late, correction, retraction, new = answer.events
    assert late.by_entity["deal:D1"] == {
        "booked_sales_value|category=expansion": "100.00",
        "booked_sales_value|category=expansion,salesperson=unassigned": "100.00",
        "booked_sales_value|category=new_account": "-100.00",
        "booked_sales_value|category=new_account,salesperson=unassigned": "-100.00",
        "booked_sales|category=expansion": 1,
        "booked_sales|category=expansion,salesperson=unassigned": 1,
        "booked_sales|category=new_account": -1,
        "booked_sales|category=new_account,salesperson=unassigned": -1,
        "new_customers|salesperson=unassigned": -1,
        "new_customers|source=unattributed": -1,
    }
    assert correction.changes["booked_sales_value|category=expansion"] == "20.50"
    assert retraction.changes["booked_sales|category=expansion"] == -1
    assert new.changes == {"cohort_customers|salesperson=unassigned": 1, "cohort_customers|source=web": 1}
    assert late.arrived_at.isoformat() == "2026-11-01T02:00:01+02:00"
    assert late.occurred_at.isoformat() == "2026-10-10T12:00:00+03:00"
    totals = {each.metric: (each.then, each.now, each.difference) for each in answer.changes if each.of == "total"}
    assert totals == {
        "booked_sales_value": ("110.00", "150.50", "40.50"),
        "cohort_customers": (0, 1, 1),
    }


async def test_a_moment_before_all_events_knows_nothing() -> None:
    """A report of zeros, and all that is there came later."""
    messages = [(1, event("lead_created", "L", "2026-10-01T09:00:00Z"))]
    seen = await known(log_of(messages), folded([messages[0][1]]), OCTOBER, BEGIN)
    assert (seen.events, seen.later, seen.report.lead_flow.total) == (0, 1, 0)
    assert seen.report == report_of(of_month({}), OCTOBER, "EUR")


async def test_an_event_of_the_very_millisecond_counts() -> None:
    """Timestamps have milliseconds; what is below them in the moment is dropped."""
    messages = [(1, event("lead_created", "L", "2026-10-01T09:00:00Z"))]
    log, cells = log_of(messages), folded([messages[0][1]])
    at = BEGIN + timedelta(seconds=1)
    assert (await known(log, cells, OCTOBER, at)).report.lead_flow.total == 1
    assert (await known(log, cells, OCTOBER, at - timedelta(microseconds=1))).report.lead_flow.total == 0


async def test_times_that_senders_claim_are_refused() -> None:
    """A sender's clock does not tell what Kafka knew."""
    log = ListedLog([(0, *event("lead_created", "L", "2026-10-01T09:00:00Z"))], CREATE_TIME)
    with pytest.raises(UndatedLogError, match=r"lead_created\[0\]@0 .* \(CreateTime\).*salesfx doctor"):
        await known(log, {}, OCTOBER, BEGIN)
    with pytest.raises(UndatedLogError):
        await changed(log, {}, OCTOBER, BEGIN)


def put_right_later(claimed: int = 0) -> tuple[ListedLog, Cells]:
    """Give a log whose first two messages have the sender's time, its third Kafka's, and the tables of all."""
    messages = [
        (at, event("lead_created", lead, "2026-10-01T09:00:00Z"))
        for at, lead in ((claimed, "L"), (claimed, "M"), (5, "N"))
    ]
    log = log_of(messages)
    records = log.partitions["lead_created"]
    records[:2] = [record._replace(timestamp_type=CREATE_TIME) for record in records[:2]]
    return log, folded([message for _, message in messages])


@pytest.mark.parametrize("claimed", [0, 999], ids=["a moment before", "a moment long after"])
async def test_what_came_before_a_message_that_kafka_dated_was_known_by_then(claimed: int) -> None:
    """A topic that was put right is looked back in from then on, whatever its senders' clocks said before."""
    log, cells = put_right_later(claimed)
    seen = await known(log, cells, OCTOBER, BEGIN + timedelta(seconds=5))
    assert (seen.events, seen.later, seen.report.lead_flow.total) == (3, 0, 3)
    answer = await changed(log, cells, OCTOBER, BEGIN + timedelta(seconds=5))
    assert (answer.events_before, answer.events_after, answer.agrees) == (3, 0, True)


async def test_whether_it_was_known_before_that_nobody_can_tell() -> None:
    """The refusal names the message, and from when on one may ask."""
    log, cells = put_right_later()
    for ask in (known, changed):
        with pytest.raises(UndatedLogError, match=r"lead_created\[0\]@1 .* got it before 2026-11-01T00:00:05\+00:00"):
            await ask(log, cells, OCTOBER, BEGIN + timedelta(seconds=4))


async def test_what_came_behind_a_message_that_kafka_dated_later_is_later() -> None:
    """A topic that lost Kafka's time for a while does not close the time before; it came when that message did, or after."""
    messages = [(at, event("lead_created", f"L{at}", "2026-10-01T09:00:00Z")) for at in (1, 3, 4)]
    log, cells = log_of(messages), folded([message for _, message in messages])
    records = log.partitions["lead_created"]
    records[2] = records[2]._replace(timestamp=milliseconds(0), timestamp_type=CREATE_TIME)
    moment = BEGIN + timedelta(seconds=2)
    seen = await known(log, cells, OCTOBER, moment)
    assert (seen.events, seen.later, seen.report.lead_flow.total) == (1, 2, 1)
    answer = await changed(log, cells, OCTOBER, moment)
    assert [(each.entity, each.arrived_at) for each in answer.events] == [
        ("lead:L3", BEGIN + timedelta(seconds=3)),
        ("lead:L4", BEGIN + timedelta(seconds=3)),
    ]
    with pytest.raises(UndatedLogError):
        await known(log, cells, OCTOBER, BEGIN + timedelta(seconds=3))


@given(arrived, st.integers(0, 6), st.data())
async def test_with_senders_times_the_answer_is_the_same_or_there_is_none(
    messages: list[tuple[int, tuple[str, bytes]]], until: int, data: st.DataObject
) -> None:
    """No sender's clock moves a number."""
    messages = sorted(messages, key=lambda message: message[0])
    cells, moment = folded([message for _, message in messages]), BEGIN + timedelta(seconds=until)
    log = log_of(messages)
    right = await known(log, cells, OCTOBER, moment)
    for records in log.partitions.values():
        for place, record in enumerate(records):
            claimed = data.draw(st.none() | st.integers(0, 6))
            if claimed is not None:
                records[place] = record._replace(timestamp=milliseconds(claimed), timestamp_type=CREATE_TIME)
    with suppress(UndatedLogError):
        assert await known(log, cells, OCTOBER, moment) == right


async def test_tables_that_say_something_else_are_told_of() -> None:
    """What is listed is what the log adds up to; where the tables differ, the answer says so."""
    messages = [(1, event("lead_created", "L", "2026-10-01T09:00:00Z"))]
    cells = folded([messages[0][1]])
    assert (await changed(log_of(messages), cells, OCTOBER, BEGIN)).agrees
    cells["2026-10-01", "leads|source=unknown"] = 2
    assert not (await changed(log_of(messages), cells, OCTOBER, BEGIN)).agrees


async def test_what_cannot_be_used_is_passed_over_and_counted() -> None:
    """As the worker refuses it."""
    messages = [
        (1, ("lead_created", b"no JSON")),
        (1, event("lead_created", "L", "2026-10-01T09:00:00Z")),
        (9, ("deal_closed", b"neither")),
    ]
    log = log_of(messages)
    seen = await known(log, {}, OCTOBER, BEGIN + timedelta(seconds=5))
    assert (seen.events, seen.refused, seen.later, seen.report.lead_flow.total) == (2, 1, 1, 1)
    answer = await changed(log, folded([m for _, m in messages]), OCTOBER, BEGIN + timedelta(seconds=5))
    assert (answer.events_before, answer.events_after, answer.refused, answer.events) == (2, 1, 2, [])


@pytest.mark.parametrize("since", [0, 9])
async def test_a_full_account_refuses_just_what_is_beyond_its_bound(
    monkeypatch: pytest.MonkeyPatch, since: int
) -> None:
    """Whether its events are folded many at once or one by one; all others count."""
    monkeypatch.setattr("salesfx.fold.MAX_ENTITIES", 3)
    messages = [(5, won(f"D{number}", f"2026-10-1{number}T09:00:00Z", "1")) for number in range(5)]
    messages.insert(3, (5, event("lead_created", "L", "2026-10-01T09:00:00Z")))
    log = ListedLog(((milliseconds(at), *message) for at, message in messages), at_once=10)
    answer = await changed(log, folded([message for _, message in messages]), OCTOBER, BEGIN + timedelta(seconds=since))
    assert answer.agrees
    assert (answer.refused, answer.now.lead_flow.total) == (2, 1)
    assert sum(sale.count for sale in answer.now.sales.booked.values()) == 3


def test_a_month_ends_at_local_midnight() -> None:
    """Of the business time zone, in winter and at the end of a year."""
    assert end_of(Month(2026, 10), "Europe/Sofia") == datetime(2026, 10, 31, 22, tzinfo=UTC)
    assert end_of(Month(2026, 12), "America/New_York") == datetime(2027, 1, 1, 5, tzinfo=UTC)


def test_records_are_those_of_the_worker() -> None:
    """To the byte, so the next event is merged as the worker would."""
    messages = [event("lead_created", "L", "2026-10-01T09:00:00Z"), won("D", "2026-10-02T09:00:00Z", "5", lead_id="L")]
    tables, fold = FoldedTables(RULES), MonthFold(RULES, OCTOBER)
    tables.take(messages)
    fold.take(ListedLog((0, *message) for message in messages).arrivals())
    assert fold.records == tables.records


@pytest.mark.external_data
async def test_500_backdated_and_corrected_deals_added_to_real_data() -> None:
    """Maven's CRM data as it was, then 250 deals that come late and 250 corrections of its own: every month adds up."""
    file = Path(os.environ["SALESFX_TEST_DATA"]) / "maven_crm" / "iso_sales_pipeline.csv"
    rules = Rules(Definitions(currency="USD"))
    real = test_importer.messages(test_importer.TestMavenCrm().events(file))
    added = backdated(real, 250) + corrected(real, 250)
    log = ListedLog(((milliseconds(at), *message) for at, message in enumerate(real + added)), at_once=4000)
    then, now = folded(real, rules), folded(real + added, rules)
    since, listed = BEGIN + timedelta(seconds=len(real) - 1), Counter[str]()
    for month in months_of(now):
        answer = await changed(log, now, month, since, rules)
        assert answer.agrees
        differs = difference(table(then, month), table(now, month))
        assert sum_of([event.changes for event in answer.events]) == differs
        listed.update(event.event_id for event in answer.events)
    assert len(listed) == 500


def backdated(real: list[tuple[str, bytes]], count: int) -> list[tuple[str, bytes]]:
    """Give deals won long ago that nobody had told of, of accounts that there are."""
    deals = [decode(topic, value) for topic, value in real if topic == "deal_closed"]
    accounts = sorted({deal.facts.account_id for deal in deals if deal.facts is not None and deal.facts.account_id})
    return [
        event(
            "deal_closed",
            f"late-{number}",
            (datetime(2016, 11, 1, 12, tzinfo=UTC) + timedelta(days=number)).isoformat(),
            account_id=accounts[number % len(accounts)],
            outcome="won",
            amount=str(100 + number),
            currency="USD",
        )
        for number in range(count)
    ]


def corrected(real: list[tuple[str, bytes]], count: int) -> list[tuple[str, bytes]]:
    """Give greater versions of won deals: each of another amount, every second one closed two months earlier too."""
    won_deals = [content for topic, value in real if (content := msgspec.json.decode(value)).get("outcome") == "won"]
    found = []
    for number, content in enumerate(won_deals[:count]):
        changes = {"event_id": f"corrected-{number}", "revision": 7, "amount": str(1_000_000 + number)}
        if number % 2:
            changes["occurred_at"] = (datetime.fromisoformat(content["occurred_at"]) - timedelta(days=61)).isoformat()
        found.append(("deal_closed", msgspec.json.encode(content | changes)))
    assert len(found) == count
    return found


def test_messages_come_back_from_the_disk_as_they_were() -> None:
    """In the order of arrival, each with its headers; an empty value is not an absent one."""
    given = [
        Arrival(7, "quote_sent", 0, 3, b"", [("salesfx_heartbeat", b"crm"), ("\N{REPLACEMENT CHARACTER}", None)]),
        Arrival(7, "lead_created", 1, 9, None, ()),
        Arrival(7, "lead_created", 0, 12, b"\x00\xff", ()),
        Arrival(6, "quote_sent", 0, 4, b"x", ()),
    ]
    with closing(Later()) as later:
        later.add(given[:2])
        later.add(given[2:])
        assert list(later.in_order()) == [given[3], given[2], given[1], given[0]]
        assert len(later) == len(given)
