"""What the readers make of a snapshot."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from io import StringIO
from typing import Any

import msgspec
import pytest
from redis._parsers.base import BaseParser
from rich.console import Console

from salesfx.definitions import Definitions, Rate
from salesfx.kpi import Cells
from salesfx.reading import Month, NoTablesError, Reader, TablesAwayError, current_month, local_today, month_report
from salesfx.reading.numbers import Person, of_month, to_date
from salesfx.reading.table import print_report
from salesfx.rules import Rules
from salesfx.settings import RateSetting, Settings
from salesfx.tables import MemoryTables
from salesfx.tables.away import redis_away
from salesfx.tables.store import Commit, DefinitionsChangedError, Range, Snapshot
from tests.folding import FoldedTables
from tests.worked_example import EVENTS

NOTHING = {"count": 0, "value": "0.00"}
ZEROS: dict[str, Any] = {
    "currency": "EUR",
    "lead_flow": {"total": 0, "by_source": {}, "by_salesperson": {}},
    "qualified_leads": {"count": 0, "value": "0.00", "by_source": {}, "by_salesperson": {}},
    "conversion": {
        "new_customers": 0,
        "qualified_leads": 0,
        "ratio": None,
        "cohort": {"qualified_leads": 0, "customers": 0, "ratio": None},
        "by_source": {},
        "by_salesperson": {},
    },
    "sales": {
        "planned": {"new_account": NOTHING, "expansion": NOTHING, "returning": NOTHING},
        "booked": {"new_account": NOTHING, "expansion": NOTHING, "returning": NOTHING},
        "by_salesperson": {},
    },
}


async def tables_of(cells: Cells, definitions: Definitions | None = None) -> MemoryTables:
    """Make tables that hold these cells."""
    tables = MemoryTables()
    await tables.open(definitions or Definitions())
    await tables.start_at("lead_created", 0, 0)
    await tables.commit(Commit([Range("lead_created", 0, 0, 1)], cells=cells))
    return tables


async def worked_example() -> MemoryTables:
    """Fold the worked example."""
    folded = FoldedTables(Rules(Definitions()))
    folded.take(EVENTS)
    return await tables_of(folded.cells)


async def report_text(cells: Cells, month: str) -> str:
    """Report one month of these cells, as JSON."""
    reader = Reader(await tables_of(cells), Settings())
    return msgspec.json.encode(await reader.month(Month.parse(month))).decode()


def booked(category: str, value: str) -> dict[str, Any]:
    """Give the `sales` of a month in which nobody in particular closed one deal."""
    sale = {category: {"count": 1, "value": value}}
    return {
        **ZEROS["sales"],
        "booked": {**ZEROS["sales"]["booked"], **sale},
        "by_salesperson": {"unassigned": {"planned": {}, "booked": sale}},
    }


WORKED_MONTHS: dict[str, dict[str, Any]] = {
    "2026-06": {
        **ZEROS,
        "conversion": {
            **ZEROS["conversion"],
            "new_customers": 1,
            "by_source": {"unattributed": {"new_customers": 1, "qualified_leads": 0, "cohort_customers": 0}},
            "by_salesperson": {"unassigned": {"new_customers": 1, "qualified_leads": 0, "cohort_customers": 0}},
        },
        "sales": booked("new_account", "300.00"),
    },
    "2026-10": {
        "currency": "EUR",
        "lead_flow": {"total": 1, "by_source": {"web": 1}, "by_salesperson": {"unassigned": 1}},
        "qualified_leads": {
            "count": 1,
            "value": "1200.00",
            "by_source": {"web": {"count": 1, "value": "1200.00"}},
            "by_salesperson": {"unassigned": {"count": 1, "value": "1200.00"}},
        },
        "conversion": {
            "new_customers": 0,
            "qualified_leads": 1,
            "ratio": 0.0,
            "cohort": {"qualified_leads": 1, "customers": 1, "ratio": 1.0},
            "by_source": {"web": {"new_customers": 0, "qualified_leads": 1, "cohort_customers": 1}},
            "by_salesperson": {"unassigned": {"new_customers": 0, "qualified_leads": 1, "cohort_customers": 1}},
        },
        "sales": ZEROS["sales"],
    },
    "2026-11": {**ZEROS, "sales": booked("expansion", "1150.00")},
    "2026-12": ZEROS,
    "2027-01": {**ZEROS, "sales": booked("expansion", "500.00")},
    "2028-03": {**ZEROS, "sales": booked("returning", "700.00")},
}


@pytest.mark.parametrize("month", WORKED_MONTHS)
async def test_the_worked_example_month_by_month(month: str) -> None:
    """The JSON of each month is exactly this, in this order of keys."""
    report = await Reader(await worked_example(), Settings()).month(Month.parse(month))
    assert msgspec.json.encode(report).decode() == json.dumps(
        {"month": month, **WORKED_MONTHS[month]}, separators=(",", ":")
    )


async def test_the_months_with_their_headline_numbers() -> None:
    """Every month that has a table is listed, the oldest first, and no other."""
    listed = msgspec.to_builtins(await Reader(await worked_example(), Settings()).months())
    assert [line["month"] for line in listed["months"]] == ["2026-06", "2026-10", "2026-11", "2027-01", "2028-03"]
    assert listed["months"][1] == {
        "month": "2026-10",
        "leads": 1,
        "qualified_leads": 1,
        "new_customers": 0,
        "booked_value": "0.00",
        "planned_value": "0.00",
    }
    assert listed["months"][0]["booked_value"] == "300.00"
    assert listed["months"][0]["new_customers"] == 1


async def test_breakdowns_name_the_greatest_first_and_nothing_that_is_0() -> None:
    """By number, then by name."""
    cells: Cells = {
        ("2026-11-01", "leads|source=fair"): 1,
        ("2026-11-02", "leads|source=web"): 2,
        ("2026-11-02", "leads|source=ads"): 1,
        ("2026-10-02", "leads|source=october"): 5,
    }
    flow = json.loads(await report_text(cells, "2026-11"))["lead_flow"]
    assert list(flow["by_source"].items()) == [("web", 2), ("ads", 1), ("fair", 1)]
    assert flow["total"] == 4


async def test_a_salesperson_has_both_planned_and_booked_and_only_categories_that_are_not_0() -> None:
    """A name that is listed has all its keys, with {} where there is nothing."""
    cells: Cells = {
        ("2026-11-01", "planned_sales|category=returning"): 1,
        ("2026-11-01", "planned_sales|category=returning,salesperson=Мария, мл.=|"): 1,
    }
    sales = json.loads(await report_text(cells, "2026-11"))["sales"]
    assert sales["by_salesperson"] == {
        "Мария, мл.=|": {"planned": {"returning": {"count": 1, "value": "0.00"}}, "booked": {}}
    }
    assert sales["planned"]["returning"]["count"] == 1


@pytest.mark.parametrize(
    ("field", "label", "person"),
    [
        ("leads|source=a|b=c", {"a|b=c": 3}, {}),
        ("leads|source=x,salesperson=y", {"x,salesperson=y": 3}, {}),
        ("leads|salesperson=a,salesperson=b", {}, {Person("a,salesperson=b"): 3}),
        ("booked_sales|category=expansion", {"expansion": 3}, {}),
        ("booked_sales|category=expansion,salesperson=a,category=b", {}, {Person("a,category=b", "expansion"): 3}),
    ],
)
def test_names_may_hold_what_separates_fields(field: str, label: dict[str, int], person: dict[Person, int]) -> None:
    """Sources and salespeople are free text; a cell is still taken apart in one way only."""
    metric = field.partition("|")[0]
    numbers = of_month({field: 3})
    assert (numbers.by_label[metric], numbers.by_person[metric]) == (label, person)


def test_a_metric_of_a_later_version_is_passed_over() -> None:
    """A table may hold more than this version knows."""
    assert of_month({"calls|source=web": 1}).by_label.get("calls") is None


def test_days_up_to_one_are_added_up() -> None:
    """The day itself counts."""
    table = {"01|leads|source=web": 1, "09|leads|source=web": 2, "10|leads|source=web": 4, "31|leads|source=web": 8}
    assert [to_date(table, day).total("leads") for day in (1, 9, 10, 30, 31)] == [1, 3, 7, 7, 15]


async def test_ratios_are_plain_quotients_and_can_exceed_1() -> None:
    """Two customers of one qualified lead."""
    cells: Cells = {("2026-11-01", "qualified_leads|source=a"): 3, ("2026-11-01", "new_customers|source=b"): 4}
    conversion = json.loads(await report_text(cells, "2026-11"))["conversion"]
    assert conversion["ratio"] == 4 / 3
    assert conversion["by_source"] == {
        "b": {"new_customers": 4, "qualified_leads": 0, "cohort_customers": 0},
        "a": {"new_customers": 0, "qualified_leads": 3, "cohort_customers": 0},
    }


async def test_other_definitions_are_refused_with_what_changed() -> None:
    """Nothing is shown under a meaning that it does not have."""
    tables = await tables_of({}, Definitions(recipient_limit=5))
    with pytest.raises(DefinitionsChangedError, match="recipient_limit: the tables were made with 5, now it is 10"):
        await Reader(tables, Settings()).snapshot()


@pytest.mark.parametrize("ours", [True, False])
async def test_one_more_rate_is_no_other_definition_to_a_reader(ours: bool) -> None:
    """Whether the worker has it already or not yet: no number depends on it."""
    since = date(2026, 1, 1)
    with_rate = Definitions(rates=(Rate(currency="USD", since=since, per_euro=Decimal("1.1")),))
    settings = Settings(rates=(RateSetting(currency="USD", since=since, per_euro="1.1"),))
    tables = await tables_of({}, None if ours else with_rate)
    assert await Reader(tables, settings if ours else Settings()).snapshot()


async def test_no_tables_is_said() -> None:
    """A Redis that the worker has not seen yet is no empty month."""
    with pytest.raises(
        NoTablesError, match=r"no tables yet.*the worker makes them|no tables yet.*The worker makes them"
    ):
        await Reader(MemoryTables(), Settings()).month(Month(2026, 11))


class Failing(MemoryTables):
    """Tables whose server is away."""

    async def snapshot(self, tables: object = ()) -> Snapshot | None:  # noqa: ARG002
        """Fail."""
        raise ConnectionRefusedError("refused")


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("NOPERM this user has no permissions to run the 'rpush' command", "keeps a short journal"),
        ("NOPERM No permissions to access a key", "keeps a short journal"),
        ("READONLY You can't write against a read only replica.", "one that takes writes"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "more memory"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", "Somebody else has written"),
    ],
)
def test_what_redis_refuses_is_not_taken_for_an_absence(words: str, advice: str) -> None:
    """The sentence says what to do, and not to look whether it is running; redis-py leaves some codes out of its errors."""
    parser: Any = BaseParser
    sentence = str(redis_away("redis://:secret@localhost/0", parser.parse_error(words)))
    assert advice in sentence
    assert "running" not in sentence
    assert "secret" not in sentence


async def test_a_redis_that_is_away_is_named_without_its_password() -> None:
    """The setting to look at is named, and its secret is not, wherever in the URL it stands."""
    for url in ("redis://:hunter2@db.example:6379/0", "redis://db.example:6379/0?password=hunter2"):
        with pytest.raises(TablesAwayError, match=r"db\.example:6379.*SALESFX_REDIS") as raised:
            await Reader(Failing(), Settings(redis=url)).snapshot()
        assert "hunter2" not in str(raised.value)
        assert raised.value.exit_status == 1


@pytest.mark.parametrize(
    "text",
    [
        "2026-13",
        "2026-00",
        "2026-1",
        "0000-01",
        "November",
        "2026-11-01",
        "",
        "\N{FULLWIDTH DIGIT TWO}026-11",
        "x" * 5000,
    ],
)
def test_what_is_no_month_is_refused(text: str) -> None:
    """With a sentence that shows the form, and not all of a long text."""
    with pytest.raises(ValueError, match="is not a month: write it YYYY-MM") as raised:
        Month.parse(text)
    assert len(str(raised.value)) < 100


def test_months_count_across_years() -> None:
    """Back and ahead."""
    assert [str(Month(2026, 1).back(months)) for months in (0, 1, 13, -3, -12)] == [
        "2026-01",
        "2025-12",
        "2024-12",
        "2026-04",
        "2027-01",
    ]
    assert [Month(2027, 2).days, Month(2028, 2).days] == [28, 29]


def test_today_is_that_of_the_business() -> None:
    """Half past ten in the evening in London is tomorrow in Sofia, and here another month."""
    now = datetime(2026, 10, 31, 22, 30, tzinfo=UTC)
    assert local_today(now, "Europe/Sofia") == date(2026, 11, 1)
    assert current_month(now, "America/New_York") == Month(2026, 10)


async def shown(cells: Cells, month: str, current: str, width: int = 200) -> str:
    """Print a month as the terminal shows it."""
    tables = await tables_of(cells)
    report = month_report(await tables.snapshot([f"month:{month}"]), Month.parse(month))  # type: ignore[arg-type]
    output = StringIO()
    print_report(report, Month.parse(current), Console(width=width, color_system=None, file=output))
    return output.getvalue()


LONG_NAMES: Mapping[tuple[str, str], int] = {
    ("2026-11-01", f"{metric}|{kind}={'n' * 100}"): 10**14 if metric.endswith("value") else 999_999
    for metric in ("leads", "qualified_leads", "qualified_leads_value", "new_customers", "cohort_customers")
    for kind in ("source", "salesperson")
}


async def test_the_table_fits_into_80_columns_and_cuts_no_number() -> None:
    """With the longest names and a million of millions."""
    text = await shown(dict(LONG_NAMES), "2026-11", "2026-11")
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "1 000 000 000 000.00" in text
    assert "999999" in text
    assert "…" not in text


async def test_planned_sales_of_a_month_that_has_passed_are_overdue() -> None:
    """And those of the current one are not."""
    cells: Cells = {
        ("2026-11-20", "planned_sales|category=new_account"): 1,
        ("2026-11-20", "planned_sales_value|category=new_account"): 115050,
    }
    assert "overdue" in await shown(cells, "2026-11", "2026-12")
    now = await shown(cells, "2026-11", "2026-11")
    assert "overdue" not in now
    assert "1 150.50" in now
    assert "overdue" not in await shown({}, "2026-11", "2026-12")


async def test_names_are_not_read_as_markup() -> None:
    """A source may be called [bold], and a salesperson too."""
    cells: Cells = {
        ("2026-11-01", "leads|source=[bold]"): 1,
        ("2026-11-01", "booked_sales|category=expansion,salesperson=[red]"): 1,
    }
    text = await shown(cells, "2026-11", "2026-11")
    assert "[bold]" in text
    assert "[red]" in text
