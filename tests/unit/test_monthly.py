"""The report of a month that has ended: its comparisons, its languages, and that nothing in it is obeyed."""

from datetime import UTC, datetime
from html.parser import HTMLParser

import click
import pytest
from click.testing import CliRunner

from salesfx.cli.report import report
from salesfx.kpi import Cells
from salesfx.language import LANGUAGES, Language
from salesfx.language.words import WORDS
from salesfx.reading import Month, current_month, month_report
from salesfx.reading.monthly import Document, Ended, document, report_tables
from salesfx.reading.written import FORMATS, as_html, as_markdown, as_text
from salesfx.settings import Settings
from salesfx.targets.lines import TargetLine, Targets
from tests.unit.test_reader import tables_of

TARGETS = (
    TargetLine(since="2026-01", leads=200, conversion=0.25, booked_sales_value=2000),
    TargetLine(since="2026-01", salesperson="Мария", booked_sales_value=500),
)
DASH = "\N{EN DASH}"
CELLS: Cells = {
    ("2025-10-10", "leads|source=web"): 100,
    ("2026-09-10", "leads|source=web"): 120,
    ("2026-10-10", "leads|source=web"): 150,
    ("2026-10-10", "leads|salesperson=Мария"): 150,
    ("2026-10-11", "qualified_leads|source=web"): 8,
    ("2026-10-11", "qualified_leads_value|source=web"): 1_234_550,
    ("2026-10-12", "new_customers|source=web"): 3,
    ("2026-10-12", "booked_sales|category=new_account"): 3,
    ("2026-10-12", "booked_sales_value|category=new_account"): 123_456_789,
    ("2026-10-12", "booked_sales|category=new_account,salesperson=Мария"): 3,
    ("2026-10-12", "booked_sales_value|category=new_account,salesperson=Мария"): 75_000,
    ("2026-10-31", "planned_sales|category=expansion"): 2,
    ("2026-10-31", "planned_sales_value|category=expansion"): 40_000,
}


async def reported(cells: Cells, month: Month, language: str = "en") -> Document:
    """Put a report together."""
    snapshot = await (await tables_of(cells)).snapshot(report_tables(month))
    assert snapshot is not None
    return document(snapshot, month, Targets(TARGETS), Language(language))


def row(found: Document, name: str) -> list[str]:
    """Find the row that begins so; its spaces that do not break as plain ones."""
    rows = [row for table in found.tables for row in table.rows if row[0] == name]
    assert len(rows) == 1
    return [cell.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ") for cell in rows[0]]


async def test_a_month_against_its_target_and_two_others() -> None:
    """With the share reached, and the change since the month before and the year before."""
    found = await reported(CELLS, Month(2026, 10))
    assert found.title == "Sales in October 2026"
    assert row(found, "Lead flow: new leads")[1:] == ["150", "200", "75.0%", "120 (+25%)", "100 (+50%)"]
    assert row(found, "Qualified leads, value")[1:] == ["€12,345.50", DASH, DASH, "€0.00", "€0.00"]
    assert row(found, "Conversion")[1:] == ["37.5%", "25.0%", "150.0%", DASH, DASH]
    assert row(found, "New accounts")[1:3] == ["3", "€1,234,567.89"]
    assert row(found, "web")[1:] == ["150", "8", "€12,345.50", "3"]
    assert row(found, "Мария")[1:] == ["150", "0", "0", "€750.00", "€500.00", "150.0%"]
    assert found.sentences[0] == "Planned for this month and still open: 2, €400.00."


async def test_bulgarian_is_written_as_bulgarians_do() -> None:
    """The month, the decimal comma, the currency behind, and the space before the percent sign."""
    found = await reported(CELLS, Month(2026, 10), "bg")
    assert found.title.replace("\N{NARROW NO-BREAK SPACE}", " ") == "Продажби, октомври 2026 г."  # noqa: RUF001 - Cyrillic
    assert row(found, "Квалифицирани, стойност")[1] == "12 345,50 €"
    assert row(found, "Конверсия")[1] == "37,5 %"
    assert row(found, "Приток: нови запитвания")[4] == "120 (+25 %)"


async def ended(cells: Cells, events: dict[str, int], language: str = "en") -> Document:
    """Put the report of October together with what was restated since it ended, when its table held these cells."""
    snapshot = await (await tables_of(CELLS)).snapshot(report_tables(Month(2026, 10)))
    then = await (await tables_of(cells)).snapshot(report_tables(Month(2026, 10)))
    assert snapshot is not None
    assert then is not None
    earlier = Ended(month_report(then, Month(2026, 10)), events)
    return document(snapshot, Month(2026, 10), Targets(TARGETS), Language(language), earlier)


@pytest.mark.parametrize(
    ("language", "heading", "leads", "category", "sentence"),
    [
        (
            "en",
            "Restated since the month ended",
            ["100", "150 (+50%)"],
            ["€1,234,587.89", "€1,234,567.89 (-0%)"],
            "late 2",
        ),
        ("bg", "Променено след края на месеца", ["100", "150 (+50 %)"], None, "закъснели 2, оттегляния 1"),
    ],
)
async def test_what_was_restated_since_the_month_ended(
    language: str, heading: str, leads: list[str], category: list[str] | None, sentence: str
) -> None:
    """Then and now of each number that is another one, and how many events of which kind did it, in every form."""
    october = ("2026-10-12", "booked_sales_value|category=new_account")
    then = CELLS | {("2026-10-10", "leads|source=web"): 100, october: CELLS[october] + 2000}
    found = await ended(then, {"late": 2, "correction": 0, "retraction": 1}, language)
    table = found.tables[-1]
    rows = {name: [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in cells] for name, *cells in table.rows}
    names = [Language(language).word(name) for name in ("leads", "booked_sales_value", "new_account")]
    assert (table.heading, list(rows)) == (heading, names)
    assert rows[names[0]] == leads
    assert category is None or rows[names[2]] == category
    assert any(sentence in each for each in found.sentences)
    for write in FORMATS.values():
        assert heading in write(found)


async def test_a_month_that_nothing_has_changed_since() -> None:
    """Is said, without a table."""
    found = await ended(CELLS, {"late": 0})
    assert "Nothing that came after the month ended has changed it." in found.sentences
    assert "Restated since the month ended" not in {table.heading for table in found.tables}
    assert "Restated" not in as_text(await reported(CELLS, Month(2026, 10)))


def test_every_language_has_every_word() -> None:
    """None is missing, and none is left over."""
    assert {frozenset(words) for words in WORDS.values()} == {frozenset(WORDS["en"])}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_month_without_anything(language: str) -> None:
    """It says so, with zeros; before the tables begin nothing is known, which is no zero."""
    found = await reported({("2026-12-01", "leads|source=web"): 1}, Month(2026, 10), language)
    assert found.sentences[0] == Language(language).word("nothing")
    assert [table.heading for table in found.tables] == [
        Language(language).word(name) for name in ("kpis", "categories", "salespeople")
    ]
    assert found.tables[0].rows[0][1:3] == ["0", "200"]
    assert found.tables[0].rows[0][4:] == [DASH, DASH]


async def test_february_with_a_leap_day_is_whole() -> None:
    """The 29th counts, and stands beside all of January and of a February without it."""
    cells: Cells = {
        (day, "leads|source=web"): 1
        for day in ("2027-01-05", "2027-02-28", "2028-01-30", "2028-01-31", "2028-02-28", "2028-02-29")
    }
    found = await reported(cells, Month(2028, 2))
    assert row(found, "Lead flow: new leads")[1:] == ["2", "200", "1.0%", "2 (+0%)", "1 (+100%)"]


class Tags(HTMLParser):
    """What a mail program would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.text += data


EVIL = '<script src="//x">|*[a](http://x)\x1b[31m&amp;"\'`'


async def test_names_from_events_are_not_obeyed() -> None:
    """Neither as HTML, nor as Markdown, nor by a terminal."""
    plain = await reported(CELLS, Month(2026, 10))
    found = await reported({**CELLS, ("2026-10-10", f"leads|source={EVIL}"): 1}, Month(2026, 10))
    tags = Tags()
    tags.feed(as_html(found))
    usual = Tags()
    usual.feed(as_html(plain))
    assert EVIL in tags.text
    assert set(tags.tags) == set(usual.tags)
    assert tags.attributes == {"lang", "charset", "style"}
    assert "\x1b" not in as_text(found)
    assert "\x1b" not in as_markdown(found)
    line = next(line for line in as_markdown(found).splitlines() if "script" in line)
    assert line.replace(r"\|", "").count("|") == 6
    assert r"\<script" in line
    assert r"\[a\]\(http\:" in line


@pytest.mark.parametrize("form", FORMATS)
async def test_every_form_says_the_same(form: str) -> None:
    """Title, numbers and sentences are in each."""
    written = FORMATS[form](await reported(CELLS, Month(2026, 10))).replace("\\", "")
    for part in ("Sales in October 2026", "€1,234,567.89", "120 (+25%)", "still open: 2", "Мария"):
        assert part in written


def test_a_month_that_has_not_ended_is_refused() -> None:
    """With the command that shows it."""
    month = current_month(datetime.now(UTC), Settings().timezone)
    assert isinstance(report, click.Command)
    result = CliRunner().invoke(report, ["--month", str(month)], obj=Settings())
    assert result.exit_code == 2
    assert f"{month} has not ended; `salesfx kpi --month {month}` shows it so far." in result.output
