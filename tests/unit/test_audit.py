"""`salesfx audit` over tables in memory: what is healthy is clean, and every kind of damage is found and named."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import date
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from salesfx.account import Account, Statement
from salesfx.audit.audit import Options, audit
from salesfx.audit.findings import MAX_BEHIND, MAX_LISTED, Report
from salesfx.audit.recomputation import read_event
from salesfx.audit.versions import version_of
from salesfx.audit.winners import Winners
from salesfx.decoder import decode
from salesfx.definitions import Definitions
from salesfx.errors import SalesfxError
from salesfx.event_log import Piece, Range
from salesfx.fold import decode_account, decode_lead, decode_standing
from salesfx.lead import ACCOUNT, Standing
from salesfx.rules import Rules
from salesfx.settings import RateSetting, Settings
from salesfx.tables import MemoryTables
from salesfx.tables.layout import VERSION_BYTES
from salesfx.tables.memory import MemoryView
from salesfx.tables.store import DefinitionsChangedError, ViewLostError
from streams.batch import Batch, Partition, Record
from streams.processor import Processor
from tests.events_strategy import DEFINITIONS, events
from tests.processing import process
from tests.worked_example import EVENTS

TODAY = date(2028, 6, 1)
STANDING = Standing(0, 0, "e", 0, False, "", 0, 0)
Message = tuple[str, bytes]


@pytest.fixture(scope="module", autouse=True)
def _every_group_by_itself() -> Iterator[None]:
    """Compute what does not hang together apart, as in a log of many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("salesfx.audit.winners._TOGETHER", 1)
        yield


class Log:
    """A log of three topics with one partition each, and the tables that are made from it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tables = MemoryTables()
        self.records: dict[str, list[Any]] = defaultdict(list)
        self.letters: list[Any] = []

    async def send(self, letters: Iterable[Any]) -> None:
        """Take dead letters."""
        self.letters.extend(letters)

    async def take(self, messages: Iterable[Message], headers: Iterable[tuple[str, bytes]] = ()) -> None:
        """Publish messages, and have a worker commit them one by one."""
        rules = Rules(self.settings.definitions)
        await self.tables.open(self.settings.definitions)
        processor = Processor(
            self.tables, rules, self, {name: name for name in ("lead_created", "quote_sent", "deal_closed")}
        )
        for topic, value in messages:
            await self.tables.start_at(topic, 0, 0)
            offset = len(self.records[topic])
            record = Record(topic, 0, offset, 0, None, value, list(headers))
            self.records[topic].append(record)
            batch = Batch(Partition(topic, 0), offset, offset + 1, [record], 0)
            assert await process(processor, batch) is None

    async def ranges(self, offsets: Mapping[str, int]) -> list[Range]:
        """Be the source of an audit."""
        return [Range(field.rpartition(":")[0], 0, 0, end) for field, end in offsets.items()]

    async def read(self, ranges: list[Range]) -> AsyncIterator[Piece]:
        """Be the source of an audit."""
        for each in ranges:
            yield Piece(each, each.begin, each.end, list(self.records[each.topic][each.begin : each.end]))

    async def audit(self, *, from_log: bool = False, month: str | None = None, today: date = TODAY) -> Report:
        """Audit the tables."""
        options = Options(today, month)
        return await audit(self.tables, self.settings, options, lambda *_: None, self if from_log else None)


def sentences(report: Report, kind: str) -> str:
    """Give all that is said of one kind."""
    found = {**report.inconsistencies, **report.warnings}.get(kind)
    return "\n".join(finding.sentence for finding in found.listed) if found else ""


def kinds(report: Report) -> set[str]:
    """Name the kinds of inconsistencies."""
    return set(report.inconsistencies)


async def worked_example() -> Log:
    """Give the tables of the worked example."""
    log = Log(Settings())
    await log.take(EVENTS)
    return log


def lead(lead_id: str, **fields: object) -> Message:
    """Make a lead."""
    return _event("lead_created", lead_id=lead_id, **fields)


def quote(quote_id: str, **fields: object) -> Message:
    """Make a quote that qualifies."""
    return _event("quote_sent", quote_id=quote_id, **{"amount": "100", "currency": "EUR", "need": "crm", **fields})


def won(deal_id: str, **fields: object) -> Message:
    """Make a won deal."""
    return _event("deal_closed", deal_id=deal_id, **{"outcome": "won", "amount": "100", "currency": "EUR", **fields})


def _event(topic: str, **fields: object) -> Message:
    content = {"event_id": "e1", "occurred_at": "2026-10-05T12:00:00Z", **fields}
    return topic, json.dumps(content).encode()


def edit(log: Log, ref: str, decode: Callable[[bytes], Any], change: Callable[[Any], object]) -> None:
    """Change a record by hand."""
    records = log.tables.data.records
    content = decode(records[ref][VERSION_BYTES:])
    change(content)
    records[ref] = records[ref][:VERSION_BYTES] + msgspec.msgpack.encode(content)


async def test_the_worked_example_audits_clean() -> None:
    """Healthy tables agree with the records and with the log, and everything was read."""
    log = await worked_example()
    report = await log.audit(from_log=True)
    assert report.agrees
    assert (report.differences.total, report.inconsistencies) == (0, {})
    assert report.checked["quote"] == 3
    assert report.checked["deal"] == 4
    assert report.checked["cells"] > 40
    assert {topic: each.events for topic, each in (report.log or {}).items()} == {
        "lead_created": 1,
        "quote_sent": 3,
        "deal_closed": 4,
    }


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.lists(events, max_size=25))
async def test_any_world_audits_clean(messages: list[Message]) -> None:
    """Whatever comes, with refused events, moves and retractions among it: no false alarm."""
    definitions = DEFINITIONS
    settings = Settings(
        source_aliases=definitions.source_aliases,
        coverage_days=definitions.coverage_days,
        sales_cycle_days=definitions.sales_cycle_days,
    )
    log = Log(settings)
    await log.take([("lead_created", b"{"), *messages])
    report = await log.audit(from_log=True)
    assert report.agrees, msgspec.json.encode(report)


async def test_cloudevents_are_read_from_the_log_too() -> None:
    """The independent computation knows both forms of the envelope."""
    log = Log(Settings())
    data = {"lead_id": "L1", "source": "web"}
    envelope = {"specversion": "1.0", "id": "e1", "time": "2026-10-05T12:00:00Z"}
    structured = json.dumps({**envelope, "data": data}).encode()
    packed = json.dumps({**envelope, "data_base64": "eyJsZWFkX2lkIjogIkwzIn0="}).encode()
    await log.take([("lead_created", structured), ("lead_created", packed)])
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"e2"), ("ce_time", b"2026-10-05T12:00:00Z")]
    await log.take([("lead_created", b'{"lead_id": "L2"}')], headers)
    await log.take([("lead_created", json.dumps({**envelope, "specversion": "0.3", "data": data}).encode())])
    report = await log.audit(from_log=True)
    assert report.agrees, msgspec.json.encode(report)
    assert report.log is not None
    assert report.log["lead_created"].refused == 1
    assert report.checked["lead"] == 3


@pytest.mark.parametrize("first", [0, 1])
async def test_versions_that_tie_are_ordered_by_content(first: int) -> None:
    """Two events that differ in nothing but their content: the same one stands whichever came first."""
    log = Log(Settings())
    both = [lead("L1", source="fair"), lead("L1", source="web")]
    await log.take([both[first], both[1 - first]])
    assert log.tables.data.tables["month:2026-10"]["leads|source=web"] == 1
    assert (await log.audit(from_log=True)).agrees


async def test_leads_of_one_account_are_computed_together() -> None:
    """A deal's category rests on the account's other leads, also on those that share it by a third one."""
    log = Log(Settings())
    await log.take(
        [
            won("D1", lead_id="L1", account_id="A1", occurred_at="2026-01-05T12:00:00Z"),
            won("D2", lead_id="L1", account_id="A2", occurred_at="2026-02-05T12:00:00Z"),
            won("D3", lead_id="L2", account_id="A2", occurred_at="2026-03-05T12:00:00Z"),
            lead("L3", account_id="A1"),
            won("D4", lead_id="L3", occurred_at="2026-04-05T12:00:00Z"),
        ]
    )
    assert log.tables.data.tables["month:2026-04"]["booked_sales|category=expansion"] == 1
    assert (await log.audit(from_log=True)).agrees


async def test_a_lost_event_in_another_currency_is_not_explained_away() -> None:
    """Where nothing was refused for want of a rate, nothing waits for one."""
    log = Log(Settings(rates=(RateSetting(currency="USD", since=date(2020, 1, 1), per_euro="1.1"),)))
    await log.take([quote("Q1", currency="USD")])
    assert (await log.audit(from_log=True)).agrees
    del log.tables.data.records["quote:Q1"]
    assert kinds(await log.audit(from_log=True)) == {"no_standing", "not_in_tables"}


async def test_a_changed_cell_is_found_with_who_is_behind_it() -> None:
    """A cell changed by hand is named with what it should be, and with the lead that is counted in it."""
    log = await worked_example()
    log.tables.data.tables["days:2026-10"]["05|qualified_leads|source=web"] += 6
    report = await log.audit(from_log=True)
    assert not report.agrees
    assert report.differences.total == 2
    for difference in report.differences.listed:
        assert (difference.table, difference.field) == ("days:2026-10", "05|qualified_leads|source=web")
        assert (difference.in_tables, difference.computed) == (7, 1)
        assert difference.behind.listed == ["lead:L1"]
    assert {difference.computed_from for difference in report.differences.listed} == {"records", "log"}


async def test_sales_are_named_behind_their_cells() -> None:
    """Behind booked sales stand deals, behind planned ones quotes, and not the leads that they live under."""
    log = await worked_example()
    await log.take([lead("L9"), quote("Q9", lead_id="L9", expected_close_on="2026-12-24", account_id="A9")])
    tables = log.tables.data.tables
    tables["month:2026-11"]["booked_sales_value|category=expansion"] = 1
    tables["days:2026-12"]["24|planned_sales|category=new_account"] = 3
    tables["days:2026-06"]["01|new_customers|source=unattributed"] = 2
    report = await log.audit(from_log=True)
    behind = {(each.table, each.computed_from): each.behind.listed for each in report.differences.listed}
    assert behind == {
        (table, computed_from): [entity]
        for table, entity in (("month:2026-11", "deal:D1"), ("days:2026-12", "quote:Q9"), ("days:2026-06", "deal:D0"))
        for computed_from in ("records", "log")
    }


async def test_a_month_total_that_disagrees_with_its_days_is_found() -> None:
    """Each kind of table is compared by itself: totals, days and hours."""
    log = await worked_example()
    log.tables.data.tables["month:2026-10"]["leads|source=web"] = 2
    log.tables.data.tables["hours:2026-10"]["01T00|leads|source=web"] = 3
    report = await log.audit()
    assert {(each.table, each.in_tables, each.computed) for each in report.differences.listed} == {
        ("month:2026-10", 2, 1),
        ("hours:2026-10", 3, 1),
    }


async def test_a_cell_in_a_month_without_any_is_found() -> None:
    """Tables of months that no list names are looked at too."""
    log = await worked_example()
    log.tables.data.tables["days:2031-01"] = {"05|leads|source=web": 1}
    report = await log.audit()
    assert [(each.table, each.computed) for each in report.differences.listed] == [("days:2031-01", 0)]
    assert report.differences.listed[0].behind.total == 0


async def test_many_behind_a_cell_are_counted() -> None:
    """Of many entities behind one cell the first are named, and all counted."""
    log = Log(Settings())
    await log.take(lead(f"L{number}") for number in range(25))
    log.tables.data.tables["month:2026-10"]["leads|source=unknown"] = 1
    (difference,) = (await log.audit()).differences.listed
    assert (difference.behind.total, len(difference.behind.listed)) == (25, MAX_BEHIND)


async def test_month_restricts_the_comparison() -> None:
    """Damage elsewhere is not shown when one month is asked for."""
    log = await worked_example()
    log.tables.data.tables["month:2026-10"]["leads|source=web"] = 2
    assert (await log.audit(month="2026-11", from_log=True)).agrees
    assert (await log.audit(month="2026-10", from_log=True)).differences.total == 2


async def test_a_deleted_lead_is_found() -> None:
    """Its cells differ, its quotes and deals have no home, its account holds what nobody says."""
    log = await worked_example()
    del log.tables.data.records["lead:L1"]
    report = await log.audit()
    assert report.differences.total
    assert kinds(report) == {"not_held", "statement_unfounded"}
    assert "quote:Q1 lives under lead:L1, of which there is no record" in sentences(report, "not_held")
    assert "deal:D1 lives under lead:L1" in sentences(report, "not_held")
    assert "account:A1 holds a statement of lead:L1" in sentences(report, "statement_unfounded")


async def test_a_standing_that_points_elsewhere_is_found() -> None:
    """Both sides are named: the lead that holds it, and the one that does not."""
    log = await worked_example()
    edit(log, "quote:Q1", decode_standing, lambda standing: setattr(standing, "home", "lead:L2"))
    report = await log.audit()
    assert report.differences.total == 0
    assert sentences(report, "held_elsewhere") == "lead:L1 holds quote:Q1, which lives under lead:L2"
    assert sentences(report, "not_held") == "quote:Q1 lives under lead:L2, which does not hold it"


async def test_an_entity_under_two_leads_is_found() -> None:
    """A quote that two leads hold counts twice."""
    log = await worked_example()
    facts = decode_lead(log.tables.data.records["lead:L1"][VERSION_BYTES:]).quotes["Q2"]
    edit(log, "lead:L2", decode_lead, lambda record: record.quotes.update(Q2=facts))
    report = await log.audit()
    assert sentences(report, "held_elsewhere") == "lead:L2 holds quote:Q2, which lives under lead:L1"
    assert report.differences.total


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda log: log.tables.data.records.pop("quote:Q1"), "no_standing"),
        (lambda log: edit(log, "quote:Q1", decode_standing, lambda s: setattr(s, "home", "")), "held_though_withdrawn"),
        (
            lambda log: edit(log, "lead:L1", decode_lead, lambda record: setattr(record.quotes["Q1"], "lead_id", "L2")),
            "names_another_lead",
        ),
        (
            lambda log: edit(log, "quote:Q1", decode_standing, lambda s: setattr(s, "occurred_at", 1)),
            "another_version",
        ),
        (lambda log: log.tables.data.records.update({"quote:Q1": b"12345678\xc1"}), "unreadable"),
        (lambda log: log.tables.data.records.update({"account:A1": b"12345678\xc1"}), "unreadable"),
    ],
)
async def test_records_that_contradict_each_other_are_found(damage: Callable[[Log], object], kind: str) -> None:
    """Each way in which an entity's record and its lead can disagree has a name."""
    log = await worked_example()
    damage(log)
    report = await log.audit()
    assert kind in kinds(report)
    assert not report.agrees


async def test_a_missing_statement_is_found() -> None:
    """An account that was not told of a deal is named with the lead that says it, and with the deal."""
    log = await worked_example()
    edit(log, "account:A1", decode_account, lambda account: account.statements.pop("lead:L1"))
    report = await log.audit()
    assert sentences(report, "statement_missing") == "account:A1 lacks what lead:L1 says about it: deal:D1"
    assert kinds(report) == {"statement_missing"}
    assert report.differences.total


async def test_a_statement_that_differs_is_found() -> None:
    """An account that was told something else is named."""
    log = await worked_example()

    def exchange(account: Account) -> None:
        account.statements["lead:L1"] = account.statements["lead-of-deal:D2"]

    edit(log, "account:A1", decode_account, exchange)
    report = await log.audit()
    assert "account:A1 holds something else than lead:L1 says about it" in sentences(report, "statement_differs")
    assert sentences(report, "told_twice").startswith("account:A1 is told of deal:D2 by two leads")


async def test_a_lost_account_is_found() -> None:
    """Without its record every statement is missing."""
    log = await worked_example()
    del log.tables.data.records["account:A1"]
    report = await log.audit()
    assert report.inconsistencies["statement_missing"].total == 4


async def test_an_event_that_was_skipped_is_found_by_the_log() -> None:
    """Records and tables that both lack an event agree with each other, not with the log."""
    log = await worked_example()
    log.records["quote_sent"].append(
        SimpleNamespace(value=quote("Q9", lead_id="L1")[1], headers=[], offset=3, partition=0)
    )
    log.tables.data.offsets["quote_sent:0"] = 4
    assert (await log.audit()).agrees
    report = await log.audit(from_log=True)
    assert "quote:Q9: the log's greatest version is event e1 at quote_sent[0]@3; the records lack it" in sentences(
        report, "not_in_tables"
    )
    assert "together 3; up to the stored offsets the log holds 4" in sentences(report, "counters")


async def test_events_beyond_the_stored_offsets_do_not_count() -> None:
    """What workers have not committed yet is no difference."""
    log = await worked_example()
    log.records["quote_sent"].append(SimpleNamespace(value=quote("Q9")[1], headers=[], offset=3, partition=0))
    assert (await log.audit(from_log=True)).agrees


async def test_consistent_damage_is_found_by_the_log() -> None:
    """A lead that is removed with its cells is invisible to the records, and found by the log."""
    log = await worked_example()
    await log.take([lead("L7", source="fair")])
    assert (await log.audit(from_log=True)).agrees
    data = log.tables.data
    del data.records["lead:L7"]
    for name, field in (("month", ""), ("days", "05|"), ("hours", "05T15|")):
        del data.tables[f"{name}:2026-10"][f"{field}leads|source=fair"]
    del data.tables["days:2026-10"]["05|leads|salesperson=unassigned"]
    data.tables["month:2026-10"]["leads|salesperson=unassigned"] -= 1
    assert (await log.audit()).agrees
    report = await log.audit(from_log=True)
    assert "lead:L7: the log's greatest version is event e1 at lead_created[0]@1; the records lack it" in sentences(
        report, "not_in_tables"
    )
    assert {"lead:L7"} <= {entity for each in report.differences.listed for entity in each.behind.listed}
    assert {each.computed_from for each in report.differences.listed} == {"log"}


async def test_an_older_version_in_the_records_is_found() -> None:
    """A correction that never got in is named with both versions."""
    log = await worked_example()
    edit(log, "quote:Q3", decode_standing, lambda standing: setattr(standing, "event_id", "another"))
    report = await log.audit(from_log=True)
    assert "the records have the version of event another" in sentences(report, "not_in_tables")


def put(record: object, changes: Mapping[str, object]) -> None:
    """Put values into fields."""
    for name, value in changes.items():
        setattr(record, name, value)


def hidden(log: Log, **changes: object) -> None:
    """Change what the lead L9 holds of the quote QA, which a later one covers in every cell."""
    edit(log, "lead:L9", decode_lead, lambda record: put(record.quotes["QA"], changes))


@pytest.mark.parametrize(
    "damage",
    [
        lambda log: hidden(log, amount="99999", hundredths=9999900),
        lambda log: hidden(log, hundredths=9999900),
        lambda log: hidden(log, currency="BGN"),
        lambda log: hidden(log, expected_close_on=10**9),
        lambda log: edit(log, "quote:QC", decode_standing, lambda standing: setattr(standing, "occurred_at", 0)),
    ],
)
async def test_content_that_no_cell_shows_is_found(damage: Callable[[Log], object]) -> None:
    """Wrong content waits in a record for the day on which a retraction makes a cell of it."""
    log = Log(Settings())
    await log.take(
        [
            quote(
                "QA",
                lead_id="L9",
                occurred_at="2026-10-01T12:00:00Z",
                salesperson="ann",
                expected_close_on="2026-12-01",
            ),
            quote("QB", lead_id="L9", occurred_at="2026-10-02T12:00:00Z", salesperson="bo"),
            quote("QC", retracted=True),
        ]
    )
    assert (await log.audit(from_log=True)).agrees
    damage(log)
    report = await log.audit(from_log=True)
    assert report.differences.total == 0
    assert kinds(report) & {"another_content", "unreadable"}
    assert "quote:Q" in sentences(report, "another_content") + sentences(report, "unreadable")


async def test_a_wrong_place_is_found() -> None:
    """Where an event lies is what people are shown, and led to look at."""
    log = await worked_example()
    await log.take(EVENTS)  # delivered again: the least place is kept
    assert (await log.audit(from_log=True)).agrees
    edit(log, "quote:Q1", decode_standing, lambda standing: setattr(standing, "offset", 4711))
    report = await log.audit(from_log=True)
    assert kinds(report) == {"another_place"}
    assert sentences(report, "another_place") == (
        "the event of quote:Q1 lies at quote_sent[0]@0; the records say that it lies at quote_sent[0]@4711"
    )


@pytest.mark.parametrize("places", [[(1, 5), (0, 9)], [(0, 9), (1, 5)]])
def test_of_equal_versions_the_least_place_counts(places: list[tuple[int, int]]) -> None:
    """Whichever partition is read first."""
    event = read_event(*quote("Q1"), Definitions())
    decoded = decode(*quote("Q1"), partition=0, offset=9)
    Rules(Definitions()).price(decoded.facts)
    with closing(Winners()) as winners:
        for place in places:
            winners.merge([(event, *place)])
        winners.group()
        winners.add_standings([version_of("quote:Q1", decoded.standing, decoded.facts)])
        assert list(winners.mismatches()) == []


@pytest.mark.parametrize(
    ("ref", "read", "damage", "named"),
    [
        ("lead:L1", decode_lead, lambda lead: setattr(lead.quotes["Q1"], "occurred_at", 10**19 - 1), "lead:L1"),
        ("lead:L1", decode_lead, lambda lead: setattr(lead.own, "occurred_at", 10**19 - 1), "lead:L1"),
        ("lead:L9", decode_lead, lambda lead: setattr(lead.quotes["Q9"], "expected_close_on", 10**9), "account:A9"),
        ("lead:L9", decode_lead, lambda lead: setattr(lead.quotes["Q9"], "expected_close_on", -1), "account:A9"),
        ("lead:L8", decode_lead, lambda lead: setattr(lead.quotes["Q8"], "expected_close_on", 10**9), "lead:L8"),
        ("lead:L8", decode_lead, lambda lead: setattr(lead.deals["D8"], "occurred_at", 10**19 - 1), "deal:D8"),
        ("lead:L8", decode_lead, lambda lead: setattr(lead.own, "revision", 2**64 - 1), "lead:L8"),
        ("lead:L8", decode_lead, lambda lead: setattr(lead.own, "recorded_at", 2**64 - 1), "lead:L8"),
        ("quote:Q1", decode_standing, lambda standing: setattr(standing, "revision", 2**64 - 1), "quote:Q1"),
        ("quote:Q1", decode_standing, lambda standing: setattr(standing, "recorded_at", 2**64 - 1), "quote:Q1"),
        ("quote:Q1", decode_standing, lambda standing: setattr(standing, "offset", 2**64 - 1), "quote:Q1"),
        ("quote:Q7", decode_standing, lambda standing: setattr(standing, "revision", -1), "quote:Q7"),
        ("lead-of-deal:D2", decode_lead, lambda lead: setattr(lead, "own", STANDING), "lead-of-deal:D2"),
    ],
)
async def test_numbers_that_no_event_can_have_are_found(
    ref: str, read: Callable[[bytes], Any], damage: Callable[[Any], object], named: str
) -> None:
    """A record with an instant of no calendar, or an integer beyond any, ends in a finding that names it."""
    log = await worked_example()
    await log.take(
        [
            quote("Q9", lead_id="L9", expected_close_on="2026-12-24", account_id="A9"),
            lead("L8"),
            quote("Q8", lead_id="L8", expected_close_on="2026-12-24", occurred_at="2026-10-06T12:00:00Z"),
            won("D8", lead_id="L8", quote_id="Q1", outcome="open"),
            quote("Q7", retracted=True),
        ]
    )
    edit(log, ref, read, damage)
    log.tables.data.tables["month:2026-10"]["leads|source=web"] += 1
    if named.startswith("account:"):
        # The account was told of the same, so that nothing but the calendar is wrong.
        def retell(account: Account) -> None:
            facts = decode_lead(log.tables.data.records[ref][VERSION_BYTES:]).quotes["Q9"]
            (planned,) = account.statements[ref].planned
            told = msgspec.structs.replace(planned, expected_day=facts.expected_close_on or 0)
            account.statements[ref] = Statement((), (told,))

        edit(log, named, decode_account, retell)
    report = await log.audit(from_log=True)
    found = report.inconsistencies["unreadable" if named != "deal:D8" else "another_version"]
    assert [named] == [each.entities[0] for each in found.listed if each.entities[0] == named]
    assert report.differences.total, "what else is wrong is found all the same"


async def test_a_quote_that_cannot_be_read_does_not_end_it() -> None:
    """Also where the deal of another lead names it."""
    log = await worked_example()
    await log.take([won("D9", lead_id="L9", quote_id="Q1")])
    log.tables.data.records["quote:Q1"] = b"12345678\xc1"
    assert "quote:Q1" in sentences(await log.audit(from_log=True), "unreadable")


async def test_a_lost_view_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Redis was emptied or an answer got lost, the records are read again from the beginning."""
    monkeypatch.setattr("salesfx.audit.audit._KEPT", 1)
    log = await worked_example()
    scan = MemoryView.scan
    lost: list[str] = []

    async def lossy(view: MemoryView, *kinds: str) -> AsyncIterator[dict[str, bytes]]:
        async for chunk in scan(view, *kinds):
            yield chunk
        if kinds == (ACCOUNT,) and not lost:
            lost.append("once")
            await log.take([lead("L1", revision=7, source="fair")])
            raise ViewLostError("the tables were emptied")

    monkeypatch.setattr(MemoryView, "scan", lossy)
    report = await log.audit(from_log=True)
    assert lost
    assert report.agrees, msgspec.json.encode(report)
    assert report.checked["quote"] == 3


async def test_a_view_that_is_lost_again_and_again_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the view's own sentence."""

    async def lossy(_: MemoryView, *__: str) -> AsyncIterator[dict[str, bytes]]:
        raise ViewLostError("the tables were emptied")
        yield {}

    log = await worked_example()
    monkeypatch.setattr(MemoryView, "scan", lossy)
    with pytest.raises(ViewLostError):
        await log.audit(from_log=True)


async def test_a_temporary_folder_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable that names another one."""
    log = await worked_example()
    monkeypatch.delenv("SQLITE_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/proc")
    with pytest.raises(SalesfxError, match=r"the temporary folder /proc cannot be used: .*TMPDIR"):
        await log.audit(from_log=True)


async def test_the_same_tables_give_the_same_report() -> None:
    """In whatever order Redis gives the records; of the planned sales the longest overdue are listed."""
    log = Log(Settings())
    days = [f"{2026 + number // 300}-{number % 12 + 1:02}-{number % 28 + 1:02}" for number in range(150)]
    await log.take(
        message
        for number, day in enumerate(days)
        for message in (
            quote(f"Q{number}", lead_id=f"L{number}", expected_close_on=day),
            won(f"D{number}", lead_id=f"M{number}", quote_id=f"Q{number}"),
        )
    )
    for number in range(0, 150, 2):
        log.tables.data.records.pop(f"quote:Q{number}")
    log.tables.data.tables["month:2026-10"]["booked_sales|category=new_account"] += 1
    one = await log.audit()
    log.tables.data.records = dict(reversed(log.tables.data.records.items()))
    assert msgspec.json.encode(await log.audit()) == msgspec.json.encode(one)
    overdue = one.warnings["long_overdue"]
    assert (overdue.total, len(overdue.listed)) == (150, MAX_LISTED)
    listed = [each.entities[0].removeprefix("quote:Q") for each in overdue.listed]
    assert [days[int(number)] for number in listed] == sorted(days)[:MAX_LISTED]
    assert set(one.inconsistencies) == {"no_standing"}
    assert {"quote_of_another_lead"} < set(one.warnings)


async def test_records_of_no_event_are_found() -> None:
    """A record that nobody published is named."""
    log = await worked_example()
    log.tables.data.records["deal:X"] = log.tables.data.records["deal:D0"]
    report = await log.audit(from_log=True)
    assert "the records have deal:X" in sentences(report, "not_in_log")


@pytest.mark.parametrize(
    ("counter", "words"),
    [
        ("processed|lead_created", "the counters tell of 2 events processed and 0 rejected of lead_created"),
        ("rejected|quote_sent|not_json", "the counters tell of 1 events of quote_sent that could not be used"),
    ],
)
async def test_a_counter_that_is_off_by_one_is_found(counter: str, words: str) -> None:
    """Counters are compared with what the log holds."""
    log = await worked_example()
    log.tables.data.counters[counter] = log.tables.data.counters.get(counter, 0) + 1
    report = await log.audit(from_log=True)
    assert words in sentences(report, "counters")
    assert kinds(report) == {"counters"}


async def test_a_counter_that_hides_a_refusal_is_found() -> None:
    """A refused event that was counted as processed keeps the sum, and is found."""
    log = await worked_example()
    await log.take([("lead_created", b"{")])
    assert (await log.audit(from_log=True)).agrees
    log.tables.data.counters["processed|lead_created"] += 1
    log.tables.data.counters["rejected|lead_created|not_json"] -= 1
    report = await log.audit(from_log=True)
    assert "the counters tell of 0 events of lead_created that could not be used" in sentences(report, "counters")


async def test_an_event_that_waits_for_its_rate_is_explained() -> None:
    """What was refused for want of a rate that is there now is named, with the command that puts it in."""
    log = await worked_example()
    foreign = quote("Q9", lead_id="L9", currency="USD")
    await log.take([foreign])
    assert (await log.audit(from_log=True)).agrees
    log.settings = Settings(rates=(RateSetting(currency="USD", since=date(2020, 1, 1), per_euro="1.1"),))
    assert (await log.audit(from_log=True)).agrees, "the tables do not know of the rate yet"
    await log.take([lead("L8")])
    report = await log.audit(from_log=True)
    assert report.differences.total
    assert kinds(report) == {"waiting_for_replay"}
    said = sentences(report, "waiting_for_replay")
    assert "quote:Q9 at quote_sent[0]@3" in said
    assert "salesfx dead-letters replay --reason no_rate" in said
    await log.take([foreign])
    assert (await log.audit(from_log=True)).agrees, "replayed, it counts"


async def test_no_more_waits_for_a_rate_than_was_refused() -> None:
    """Refusals do not explain away the loss of an event that had its rate from the beginning."""
    log = Log(Settings())
    await log.take([quote("Q1", lead_id="L1", currency="USD"), quote("Q2", lead_id="L2", currency="GBP")])
    log.settings = Settings(rates=(RateSetting(currency="USD", since=date(2020, 1, 1), per_euro="1.1"),))
    await log.take([quote(f"Q{number}", lead_id=f"L{number}", currency="USD") for number in (3, 4)])
    assert kinds(await log.audit(from_log=True)) == {"waiting_for_replay"}
    del log.tables.data.records["quote:Q3"], log.tables.data.records["lead:L3"]
    report = await log.audit(from_log=True)
    assert report.inconsistencies["waiting_for_replay"].total == 1
    assert "dead letter quote_sent-0-0" in sentences(report, "waiting_for_replay")
    assert "quote:Q3" in sentences(report, "not_in_tables")


async def test_what_found_no_place_before_others_left_is_no_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the lead is not full any more, the audit says that it may have been."""
    monkeypatch.setattr("salesfx.fold.MAX_ENTITIES", 3)
    monkeypatch.setattr("salesfx.audit.winners.FULL", 3)
    log = Log(Settings())
    await log.take(quote(f"Q{number}", lead_id="L1", recipient_count=number + 1) for number in range(5))
    await log.take([quote(f"Q{number}", revision=1, retracted=True) for number in range(2)])
    report = await log.audit(from_log=True)
    assert kinds(report) == {"not_in_tables"}
    said = sentences(report, "not_in_tables")
    assert "or it was refused as too_many_entities" in said
    assert "the dead letter quote_sent-0-3" in said


async def test_what_found_no_place_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a full lead the order of arrival decides, and the audit says so."""
    monkeypatch.setattr("salesfx.fold.MAX_ENTITIES", 3)
    monkeypatch.setattr("salesfx.audit.winners.FULL", 3)
    log = Log(Settings())
    await log.take(quote(f"Q{number}", lead_id="L1", recipient_count=number + 1) for number in range(5))
    assert log.tables.data.counters["rejected|quote_sent|too_many_entities"] == 2
    report = await log.audit(from_log=True)
    assert kinds(report) <= {"full"}
    assert "quote:Q4 at quote_sent[0]@4 was refused as too_many_entities" in sentences(report, "full")


async def test_warnings_alone_agree() -> None:
    """What the rules cannot see is told with ids, and is no difference."""
    log = Log(Settings())
    await log.take(
        [
            quote("Q1", lead_id="L1", expected_close_on="2026-11-01"),
            quote("Q1", lead_id="L2", revision=1, expected_close_on="2026-11-01"),
            won("D1", lead_id="L3", quote_id="Q1", amount="5"),
        ]
    )
    report = await log.audit(from_log=True)
    assert report.agrees
    assert set(report.warnings) == {"long_overdue", "quote_of_another_lead", "quote_of_two_leads"}
    assert report.warnings["quote_of_two_leads"].listed[0].entities == ["quote:Q1", "lead:L1", "lead:L2"]
    assert "deal:D1 of lead:L3 names quote:Q1, which lives under lead:L2" in sentences(report, "quote_of_another_lead")
    assert "quote:Q1 of lead:L2 was expected to close on 2026-11-01" in sentences(report, "long_overdue")
    assert not (await log.audit(today=date(2027, 1, 30))).warnings.get("long_overdue"), "90 days are not yet long"
    assert (await log.audit(today=date(2027, 1, 31))).warnings["long_overdue"].total == 1
    assert set((await log.audit(month="2026-10")).warnings) == {"quote_of_another_lead"}


async def test_tables_of_other_definitions_are_refused() -> None:
    """Numbers that mean something else are not compared."""
    log = await worked_example()
    log.settings = Settings(recipient_limit=11)
    with pytest.raises(DefinitionsChangedError, match="recipient_limit"):
        await log.audit()


async def test_the_definitions_of_the_tables_are_used() -> None:
    """A rate that we have and the tables have not is no difference; nor is one that only the tables have."""
    log = await worked_example()
    log.settings = Settings(rates=(RateSetting(currency="USD", since=date(2020, 1, 1), per_euro="1.1"),))
    assert (await log.audit(from_log=True)).agrees
    assert log.tables.data.definitions == Definitions().canonical()
