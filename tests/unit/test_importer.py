"""The CSV import: maps, rows, what they make, and that importing again or anew does what it says."""

import io
import json
import os
import random
import re
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner

from salesfx.cli.import_ import import_
from salesfx.definitions import Definitions
from salesfx.errors import NeedsAttentionError
from salesfx.events import TOPICS
from salesfx.importer import (
    FileError,
    FileFormat,
    Importer,
    Made,
    MapError,
    RowRefused,
    load_map,
    parse_map,
    parse_moment,
    read_rows,
)
from salesfx.importer.written import Amounts, Dates, parse_date
from salesfx.rules import Rules
from salesfx.settings import Settings
from tests.folding import FoldedTables

SOFIA = ZoneInfo("Europe/Sofia")
JUNE, JULY = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)

MAP = """
[file]
dates = "day-first"
delimiter = ";"
decimal = ","
thousands = " "

[stage]
column = "Stage"

[stage.events]
New = []
Talking = ["lead"]
Won = ["lead", "deal"]
Lost = ["lead", "deal"]

[event.lead]
topic = "lead_created"
lead_id = "crm:{Id}"
occurred_at = "{First contact}"
source = { column = "Channel", values = { "Web form" = "web", "Cold call" = "phone" }, otherwise = "other" }
salesperson = "{Owner}"
account_id = "{Client}"

[event.deal]
topic = "deal_closed"
deal_id = "crm:{Id}"
lead_id = "crm:{Id}"
account_id = "{Client}"
occurred_at = "{Closed}"
outcome = { column = "Stage", values = { Won = "won", Lost = "lost" } }
amount = "{Value}"
currency = "EUR"
"""
HEADER = "Id;Stage;First contact;Closed;Channel;Owner;Client;Value"
WON = "7;Won;5.1.2026;28.02.2026 17:30;Web form;Мария;Acme;1 234,50"
TALKING = "7;Talking;5.1.2026;;Web form;Мария;Acme;"
OTHER = "8;Won;06/01/2026;01/03/2026;Radio;;;20"


def imported(
    *rows: str, exported_at: datetime = JUNE, text: str = MAP, header: str = HEADER
) -> tuple[list[Made], dict[int, str]]:
    """Import a file of these rows: its events, and the refusals by row number."""
    mapping = parse_map(text)
    content = "\n".join([header, *rows]).encode()
    numbered = read_rows(io.BytesIO(content), mapping.file)
    importer = Importer(mapping, next(numbered)[1], exported_at, "Europe/Sofia")
    events, refused = [], {}
    for number, cells in numbered:
        try:
            events += importer.events(number, cells)
        except RowRefused as refusal:
            refused[number] = str(refusal)
    return events, refused


def messages(events: list[Made]) -> list[tuple[str, bytes]]:
    """Give what would be published."""
    return [(event.topic, event.value) for event in events]


def tables(*published: list[Made]) -> dict[tuple[str, str], int]:
    """Fold what was published, import after import."""
    folded = FoldedTables(Rules(Definitions(currency="EUR")))
    for events in published:
        folded.take(messages(events))
    assert folded.rejected == []
    return folded.cells


class TestRows:
    """What a row makes, and when it makes nothing."""

    def test_a_row_becomes_its_stages_events(self) -> None:
        """Every field comes out as the map says."""
        (lead, deal), refused = imported(WON)
        assert refused == {}
        assert {name: value for name, value in lead.event.items() if name != "event_id"} == {
            "lead_id": "crm:7",
            "occurred_at": "2026-01-05T12:00:00+02:00",
            "source": "web",
            "salesperson": "Мария",
            "account_id": "Acme",
            "recorded_at": "2026-06-01T00:00:00+00:00",
        }
        assert {name: value for name, value in deal.event.items() if name != "event_id"} == {
            "deal_id": "crm:7",
            "lead_id": "crm:7",
            "account_id": "Acme",
            "occurred_at": "2026-02-28T17:30:00+02:00",
            "outcome": "won",
            "amount": "1234.50",
            "currency": "EUR",
            "recorded_at": "2026-06-01T00:00:00+00:00",
        }
        assert (lead.topic, lead.key, deal.topic, deal.key) == ("lead_created", "crm:7", "deal_closed", "crm:7")

    def test_blank_columns_are_absent_and_other_values_fall_back(self) -> None:
        """A blank cell is no empty string, and an unlisted channel is `other`."""
        (lead, deal), _ = imported(OTHER)
        assert lead.event["source"] == "other"
        assert "salesperson" not in lead.event
        assert "account_id" not in deal.event
        assert tables([lead, deal])["2026-03-01", "booked_sales_value|category=new_account"] == 2000

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            (WON.replace("28.02", "31.02"), "Closed: '31.02.2026 17:30' is no day of the calendar, read as day-first"),
            (WON.replace("5.1.2026", "Jan 5"), "First contact: 'Jan 5' is not a day-first date like 31-03-2017"),
            (WON.replace("28.02.2026 17:30", ""), "Closed: is blank, and event.deal.occurred_at needs it"),
            (
                WON.replace("1 234,50", ""),
                "event.deal: amount: absent, null or blank where the outcome is won (from Value)",
            ),
            (WON.replace("1 234,50", "-5"), "Value: '-5' is not an amount like 1 234,50"),
            (WON.replace("1 234,50", "1.234,50"), "Value: '1.234,50' is not an amount like 1 234,50"),
            (WON.replace("Won", "Gained"), "Stage: 'Gained' is none of the map's stages New, Talking, Won, Lost"),
            (WON.replace("2026", "1026"), "event.lead: occurred_at: '1026-01-05T12:00:00+01:33:16' "),
            (WON.replace("7;", " ;"), "Id: is blank, and event.lead.lead_id needs it"),
            (
                WON.replace("Мария", "x" * 101),
                "event.lead: salesperson: has 101 characters; at most 100 are allowed (from Owner)",
            ),
            (WON + ";more", "has 9 cells, the header has 8"),
            ("7;Won", "has 2 cells, the header has 8"),
        ],
    )
    def test_a_row_that_cannot_be_used_is_named_with_its_reason_and_the_rest_goes_in(
        self, row: str, words: str
    ) -> None:
        """The reason names the column."""
        events, refused = imported(OTHER, row, WON.replace("7;", "9;"))
        assert [event.key for event in events] == ["crm:8", "crm:8", "crm:9", "crm:9"]
        assert list(refused) == [3]
        assert refused[3].startswith(words)

    def test_a_row_goes_in_whole_or_not_at_all(self) -> None:
        """A deal with a bad amount brings no lead either."""
        events, refused = imported(WON.replace("1 234,50", "?"))
        assert events == []
        assert list(refused) == [2]

    def test_rows_that_contradict_each_other_are_refused_not_chosen_from(self) -> None:
        """An export with a line for each product of a deal would otherwise lose all but one amount."""
        events, refused = imported(WON, OTHER, WON, WON.replace("1 234,50", "99"))
        assert len(events) == 6
        assert refused == {5: "deal_closed 'crm:7' has another content than in row 2"}

    def test_rows_are_numbered_as_a_spreadsheet_does(self) -> None:
        """A quoted line break is within a row; an empty line is a row."""
        _, refused = imported('7;Talking;5.1.2026;;"Web\nform";A;B;', "", ";;;;;;;", "9;?;;;;;;")
        assert list(refused) == [6 - 1]
        numbers = [number for number, _ in read_rows(io.BytesIO(b'a\r\n"x\r\ny"\r\n\r\nz\r\n'), FileFormat())]
        assert numbers == [1, 2, 4]


class TestImportingAgain:
    """The same file again, a newer one, an older one, another map."""

    def test_the_same_file_gives_the_same_bytes(self) -> None:
        """Ids and versions are stable."""
        assert messages(imported(WON, OTHER)[0]) == messages(imported(WON, OTHER)[0])

    def test_the_same_file_twice_changes_nothing(self) -> None:
        """Nor does a copy with a later modification time."""
        once, _ = imported(WON, OTHER)
        again, _ = imported(WON, OTHER)
        copied, _ = imported(WON, OTHER, exported_at=JUNE + timedelta(days=1))
        assert tables(once, again) == tables(once)
        assert tables(once, copied) == tables(once)

    @pytest.mark.parametrize(
        ("older", "newer"),
        [
            (WON, WON.replace("1 234,50", "999,99")),
            (WON, WON.replace("28.02.2026", "01.04.2026")),
            (WON, WON.replace("Won", "Lost")),
            (WON, TALKING),
            (WON, "7;New;;;;;;"),
            (TALKING, WON),
            (WON, WON.replace("Мария", "Ivan").replace("Acme", "")),
        ],
    )
    def test_a_newer_export_corrects_whatever_arrives_first(self, older: str, newer: str) -> None:
        """Values, dates, stages and owners follow the newer export, in any order of arrival."""
        before, _ = imported(older, OTHER, exported_at=JUNE)
        after, _ = imported(newer, OTHER, exported_at=JULY)
        assert tables(before) != tables(after)
        assert tables(before, after) == tables(after)
        assert tables(after, before) == tables(after), "an old export that comes late must not win"
        mixed = [*before, *after, *before]
        random.Random(7).shuffle(mixed)
        assert tables(mixed) == tables(after)

    def test_a_map_with_a_greater_revision_replaces_what_it_made_before(self) -> None:
        """A mended map wins for the same file."""
        wrong, _ = imported(WON)
        right, _ = imported(
            WON, text="revision = 1\n" + MAP.replace('source = { column = "Channel"', 'source = "fair" #')
        )
        assert {event.event["revision"] for event in right} == {1}
        assert tables(right, wrong) == tables(right) != tables(wrong)

    def test_a_column_says_when_a_row_was_changed(self) -> None:
        """It decides, not the moments of the exports."""
        text = MAP.replace("account_id =", 'recorded_at = "{Changed}"\naccount_id =')
        header = HEADER + ";Changed"
        older, _ = imported(WON + ";01.05.2026 10:00", text=text, header=header, exported_at=JULY)
        newer, _ = imported(TALKING + ";01.05.2026 10:01", text=text, header=header, exported_at=JUNE)
        assert {event.event["recorded_at"] for event in older} == {"2026-05-01T10:00:00+03:00"}
        assert tables(newer, older) == tables(newer)

    def test_what_a_stage_does_not_have_is_withdrawn_once(self) -> None:
        """And never what the row itself makes by another rule."""
        events, _ = imported(TALKING)
        assert [(event.topic, event.key, event.retracted) for event in events] == [
            ("lead_created", "crm:7", False),
            ("deal_closed", "crm:7", True),
        ]
        lost = MAP.replace('Lost = ["lead", "deal"]', 'Lost = ["lead", "lost"]') + (
            '[event.lost]\ntopic = "deal_closed"\ndeal_id = "crm:{Id}"\noccurred_at = "{Closed}"\noutcome = "lost"\n'
        )
        events, _ = imported(WON.replace("Won", "Lost"), text=lost)
        assert [(event.topic, event.retracted) for event in events] == [("lead_created", False), ("deal_closed", False)]

    def test_without_stages_every_row_makes_every_event_and_withdraws_nothing(self) -> None:
        """A map without [stage] is for files of one kind of thing."""
        text = '[event.x]\ntopic = "quote_sent"\nquote_id = "{n}"\noccurred_at = "{at}"\namount = "{sum}"\ncurrency = "BGN"\n'
        text += 'need = "crm"\nrecipient_count = 3\nexpected_close_on = "{due}"\n'
        events, _ = imported("1,2026-01-02T10:00:00Z,5.5,2026-02-03 00:00:00", text=text, header="n,at,sum,due")
        assert [event.event["recipient_count"] for event in events] == [3]
        assert events[0].event["expected_close_on"] == "2026-02-03"
        assert events[0].event["occurred_at"] == "2026-01-02T10:00:00+00:00"


class TestWritten:
    """Dates, times and amounts as files write them."""

    @pytest.mark.parametrize(
        ("text", "dates", "expected"),
        [
            ("2017-03-01", "iso", "2017-03-01T12:00:00+02:00"),
            ("2017-03-01", "day-first", "2017-03-01T12:00:00+02:00"),
            ("01-03-2017", "day-first", "2017-03-01T12:00:00+02:00"),
            ("03/01/2017", "month-first", "2017-03-01T12:00:00+02:00"),
            ("1.3.2017 \u0433.", "day-first", "2017-03-01T12:00:00+02:00"),
            ("1.3.2017 \u0433., 9:05", "day-first", "2017-03-01T09:05:00+02:00"),
            ("7/31/2017 12:00 AM", "month-first", "2017-07-31T00:00:00+03:00"),
            ("7/31/2017 1:30:05 pm", "month-first", "2017-07-31T13:30:05+03:00"),
            ("2017-07-31T23:59:59.1234567Z", "iso", "2017-07-31T23:59:59.123456+00:00"),
            ("2017-07-31 23:59+0530", "iso", "2017-07-31T23:59:00+05:30"),
        ],
    )
    def test_moments(self, text: str, dates: Dates, expected: str) -> None:
        """Each way of writing is read, with the offset of that day."""
        assert parse_moment(text, dates, SOFIA).isoformat() == expected

    @pytest.mark.parametrize(
        ("text", "dates"),
        [
            ("01-03-2017", "iso"),
            ("31-04-2017", "day-first"),
            ("13/13/2017", "month-first"),
            ("1-3-17", "day-first"),
            ("1-3.2017", "day-first"),
            ("2017-20-10", "day-first"),
            ("\u0660\u0661-03-2017", "day-first"),
            ("42795", "day-first"),
            ("2017-03-01 24:00", "iso"),
            ("2017-03-01 13:00 PM", "iso"),
            ("2017-03-01 10:00+99:00", "iso"),
            ("", "iso"),
        ],
    )
    def test_what_is_no_moment(self, text: str, dates: Dates) -> None:
        """Nothing is guessed."""
        with pytest.raises(ValueError, match=r"is n|has "):
            parse_moment(text, dates, SOFIA)

    @pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "America/Asuncion", "Europe/Sofia"])
    def test_a_date_alone_keeps_its_date_in_its_zone_on_every_day(self, zone: str) -> None:
        """Noon exists everywhere; midnight does not."""
        day = date(2016, 1, 1)
        while day.year < 2018:
            moment = parse_moment(day.isoformat(), "iso", ZoneInfo(zone))
            assert moment.astimezone(UTC).astimezone(ZoneInfo(zone)).date() == day
            day += timedelta(days=1)

    def test_a_date_is_taken_as_written(self) -> None:
        """A time behind it is not read, and open ends are dates."""
        assert parse_date("31.12.9999 23:59", "day-first") == date(9999, 12, 31)

    @pytest.mark.parametrize(
        ("decimal", "thousands", "text", "expected"),
        [
            (".", "", "1054", "1054"),
            (".", "", "1054.", "1054"),
            (".", ",", "1,054.00", "1054.00"),
            (".", ",", "1054.5", "1054.5"),
            (",", ".", "1.234.567,8", "1234567.8"),
            (",", " ", "1\u00a0234\u202f567,80", "1234567.80"),
            (".", "'", "12'345.6", "12345.6"),
        ],
    )
    def test_amounts(self, decimal: str, thousands: str, text: str, expected: str) -> None:
        """Separators are taken off, digits stay."""
        assert Amounts(decimal, thousands).parse(text) == expected

    @pytest.mark.parametrize(
        ("decimal", "thousands", "text"),
        [
            (".", "", "1,054.00"),
            (".", ",", "1,05"),
            (".", ",", "1,0540"),
            (".", ",", ",054"),
            (",", "", "1.054"),
            (".", "", "-1"),
            (".", "", "1e3"),
            (".", "", "$5"),
            (".", "", ".5.5"),
            (".", "", "\u0661"),
        ],
    )
    def test_what_is_no_amount(self, decimal: str, thousands: str, text: str) -> None:
        """A group of two digits is no group."""
        with pytest.raises(ValueError, match="is not an amount like"):
            Amounts(decimal, thousands).parse(text)


class TestMaps:
    """What is wrong with a map, or does not fit its file."""

    @pytest.mark.parametrize(
        ("wrong", "right", "words"),
        [
            ("[file]", "[fiel]", "unknown field `fiel`"),
            ('dates = "day-first"', 'dates = "dmy"', "Invalid enum value 'dmy' - at `$.file.dates`"),
            ('decimal = ","', 'decimals = ","', "unknown field `decimals` - at `$.file`"),
            ('thousands = " "', 'thousands = ","', "file.thousands: ',' is the decimal separator already"),
            ('delimiter = ";"', 'delimiter = ";;"', "`$.file.delimiter`"),
            ('delimiter = ";"', 'timezone = "Europe/Sofa"', "file.timezone: there is no time zone 'Europe/Sofa'"),
            ('delimiter = ";"', 'encoding = "cp1521"', "file.encoding: there is no encoding 'cp1521'"),
            (
                'Talking = ["lead"]',
                'Talking = ["laed"]',
                "stage.events.Talking: there is no [event.laed]; there are deal, lead",
            ),
            ('["lead", "deal"]', '["lead"]', "stage.events: no stage makes deal"),
            ('topic = "deal_closed"', 'topic = "deal"', "event.deal.topic: 'deal' is none of lead_created"),
            ('topic = "deal_closed"', "", "event.deal.topic: None is none of"),
            ("amount =", "amuont =", "event.deal.amuont: deal_closed has no such field; there are account_id, amount"),
            ("amount =", "event_id =", "event.deal.event_id: deal_closed has no such field; the import fills it"),
            ('occurred_at = "{Closed}"', "", "event.deal.occurred_at: is missing; every deal_closed needs it"),
            ('"{Value}"', '"{Value"', "event.deal.amount: '{Value' has a brace without a column's name"),
            ('"{Value}"', '"{}"', "event.deal.amount: '{}' has a brace without"),
            ('"{Value}"', "1.5", "event.deal.amount: Expected"),
            ('otherwise = "other"', 'default = "other"', "event.lead.source: Object contains unknown field `default`"),
            ("[stage]", "[stage", "not valid TOML"),
        ],
    )
    def test_what_is_wrong_with_a_map_is_said_with_its_key(self, wrong: str, right: str, words: str) -> None:
        """Each mistake is named where it stands."""
        assert wrong in MAP
        with pytest.raises(MapError, match=re.escape(words)):
            parse_map(MAP.replace(wrong, right))

    def test_the_map_in_the_documentation_is_one(self) -> None:
        """It can be copied and changed."""
        page = (Path(__file__).parents[2] / "docs" / "import.md").read_text(encoding="utf-8")
        mapping = parse_map(page.partition("```toml\n")[2].partition("```")[0])
        assert [rule.name for rule in mapping.rules] == ["lead", "deal"]

    def test_braces_are_written_twice(self) -> None:
        """A template may hold several columns, and braces."""
        text = MAP.replace('"crm:{Id}"', '"{{crm}}-{ Id }-{Stage}"')
        (lead, _), _ = imported(WON, text=text)
        assert lead.key == "{crm}-7-Won"

    def test_a_file_that_does_not_fit_is_told_with_what_is_there(self) -> None:
        """The message names the column, the key and what the file has."""
        with pytest.raises(
            MapError, match=r"no column 'Channel', which event.lead.source of the map reads; it has 'Id', 'St"
        ):
            imported(header=HEADER.replace("Channel", "Chanel"))
        with pytest.raises(MapError, match=r"is the delimiter ','\? The first line is 'Id,Stage"):
            imported(header=HEADER.replace(";", ","))
        with pytest.raises(MapError, match=r"more than one column 'Stage', which stage.column"):
            imported(header=HEADER + ";Stage")


class TestFiles:
    """Encodings and broken files."""

    def rows(self, content: bytes, **file: str) -> list[list[str]]:
        """Read a file's rows."""
        return [cells for _, cells in read_rows(io.BufferedReader(io.BytesIO(content)), FileFormat(**file))]  # type: ignore[arg-type]

    def test_a_byte_order_mark_is_no_part_of_the_first_column(self) -> None:
        """Excel writes one."""
        assert self.rows("\ufeffId,Стойност\n".encode()) == [["Id", "Стойност"]]

    def test_encodings(self) -> None:
        """UTF-16 is recognised where the map does not say it."""
        assert self.rows("Стойност\n".encode("windows-1251"), encoding="windows-1251") == [["Стойност"]]
        assert self.rows("Стойност\n".encode("utf-16"), encoding="utf-16") == [["Стойност"]]
        with pytest.raises(FileError, match='encoding = "utf-16"'):
            self.rows("Стойност\n".encode("utf-16"))

    def test_a_row_in_another_encoding_is_refused_and_says_so(self) -> None:
        """Rows in plain ASCII still go in."""
        mapping = parse_map(MAP)
        content = f"{HEADER}\n{WON}\n{OTHER}".encode("windows-1251")
        rows = read_rows(io.BytesIO(content), mapping.file)
        importer = Importer(mapping, next(rows)[1], JUNE, "Europe/Sofia")
        with pytest.raises(RowRefused, match="has a byte that is not utf-8: set encoding"):
            importer.events(*next(rows))
        assert len(importer.events(*next(rows))) == 2

    def test_a_quote_that_never_closes_ends_the_import_with_a_sentence(self) -> None:
        """What comes after it cannot be told apart."""
        with pytest.raises(FileError, match=r"cannot be read after row 2: .* importing the mended file again is safe"):
            self.rows(b'a,b\n1,2\n"3,4\n5,6\n')


class TestCommand:
    """The command, without Kafka."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> Path:
        """Make a folder with a map and an export that was written on 1 June 2026."""
        (tmp_path / "map.toml").write_text(MAP, encoding="utf-8")
        bad = [f"{number};Gained;;;;;;" for number in range(100, 125)]
        (tmp_path / "crm.csv").write_text("\n".join([HEADER, WON, OTHER, "9;New;;;;;;", *bad]), encoding="utf-8")
        os.utime(tmp_path / "crm.csv", (JUNE.timestamp() + 0.75, JUNE.timestamp() + 0.75))
        return tmp_path

    def run(self, folder: Path, *options: str) -> tuple[int, str, str]:
        """Run a dry import: exit status, standard output, standard error."""
        arguments = [str(folder / "crm.csv"), "--map", str(folder / "map.toml"), "--dry-run", *options]
        result = CliRunner().invoke(import_, arguments, obj=Settings())
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    def test_the_first_refused_rows_are_listed_then_counted(self, files: Path) -> None:
        """Twenty rows, then how many more."""
        status, out, err = self.run(files)
        assert status == 1
        lines = err.splitlines()
        assert lines[0] == "row 5: Stage: 'Gained' is none of the map's stages New, Talking, Won, Lost"
        assert len(lines) == 20
        assert "5 more refused rows are not shown" in out
        assert "crm.csv: 28 rows, 25 of them refused" in out
        assert "lead_created: 2 events would be published" in out
        assert "exported at 2026-06-01T03:00:00+03:00 (the file's modification time" in out

    def test_json_has_all_of_it(self, files: Path) -> None:
        """Counts, every refused row, and the moment of the export."""
        status, out, _ = self.run(files, "--json", "--exported-at", "2026-07-01 10:00")
        summary = json.loads(out)
        assert status == 1
        assert (summary["rows"], summary["refused"], len(summary["refusals"])) == (28, 25, 25)
        assert summary["refusals"][24]["row"] == 29
        assert summary["exported_at"] == "2026-07-01T10:00:00+03:00"
        assert summary["published"] == {"lead_created": 2, "deal_closed": 2}
        assert summary["withdrawn"] == {"lead_created": 1, "deal_closed": 1}
        assert summary["rows_without_events"] == 1

    def test_refused_rows_can_be_mended_and_imported(self, files: Path) -> None:
        """The file of refused rows is an export again."""
        self.run(files, "--refused", str(files / "refused.csv"))
        refused = (files / "refused.csv").read_text(encoding="utf-8-sig")
        assert refused.splitlines()[0] == "refused row;refused because;" + HEADER
        assert len(refused.splitlines()) == 26
        (files / "crm.csv").write_text(refused.replace(";Gained;", ";New;"), encoding="utf-8")
        assert self.run(files)[0] == 0

    def test_refused_rows_keep_their_bytes(self, files: Path) -> None:
        """Whatever the encoding of the export, and of the reasons."""
        text = MAP.replace("[file]", '[file]\nencoding = "latin-1"').replace("New = []", 'New = []\n"Нова" = []')
        (files / "map.toml").write_text(text, encoding="utf-8")
        row = WON.replace("Won", "\xe9t\xe9").encode("latin-1", "replace")
        (files / "crm.csv").write_bytes(HEADER.encode() + b"\n" + row)
        self.run(files, "--refused", str(files / "refused.csv"))
        assert row in (files / "refused.csv").read_bytes()
        (files / "map.toml").write_text(MAP, encoding="utf-8")
        self.run(files, "--refused", str(files / "refused.csv"))
        assert row in (files / "refused.csv").read_bytes()

    def test_the_export_is_not_overwritten(self, files: Path) -> None:
        """By the file of its refused rows."""
        before = (files / "crm.csv").read_bytes()
        assert self.run(files, "--refused", str(files / "crm.csv"))[0] == 2
        assert (files / "crm.csv").read_bytes() == before

    def test_a_moment_that_cannot_be_is_asked_for(self, files: Path) -> None:
        """1970 is a broken archive; from the future it would win over every export to come."""
        for moment in (0, time.time() + 200_000):
            os.utime(files / "crm.csv", (moment, moment))
            with pytest.raises(NeedsAttentionError, match="say with --exported-at when the CRM wrote it"):
                self.run(files)
        assert self.run(files, "--exported-at", "yesterday")[0] == 2

    def test_errors_name_the_file(self, files: Path) -> None:
        """Whether it is the export or the map."""
        (files / "crm.csv").write_text("")
        with pytest.raises(FileError, match=r"crm\.csv: the file is empty"):
            self.run(files)
        (files / "map.toml").write_text("x = 1")
        with pytest.raises(MapError, match=r"map\.toml: .*unknown field `x`"):
            self.run(files)


@pytest.mark.external_data
class TestMavenCrm:
    """Real data: 8,800 opportunities, in ISO dates and in day-first dates."""

    @pytest.fixture
    def folder(self) -> Path:
        """Find the data, which are no part of the project."""
        return Path(os.environ["SALESFX_TEST_DATA"]) / "maven_crm"

    def events(self, file: Path, exported_at: datetime = JUNE) -> list[Made]:
        """Import a file by the example's map; every row must be usable."""
        mapping = load_map(Path(__file__).parents[2] / "examples" / "maven_crm.toml")
        with file.open("rb") as binary:
            rows = read_rows(binary, mapping.file)
            importer = Importer(mapping, next(rows)[1], exported_at, "Europe/Sofia")
            return [event for number, cells in rows for event in importer.events(number, cells)]

    def test_both_files_make_the_same_events(self, folder: Path) -> None:
        """To the byte."""
        iso = messages(self.events(folder / "iso_sales_pipeline.csv"))
        assert iso == messages(self.events(folder / "sales_pipeline.csv"))
        assert {topic for topic, _ in iso} == set(TOPICS) - {"quote_sent"}

    def test_the_numbers_are_those_of_the_file(self, folder: Path) -> None:
        """Counted once more from the file itself; importing the other copy changes nothing."""
        lines = (folder / "iso_sales_pipeline.csv").read_text(encoding="utf-8").splitlines()[1:]
        rows = [line.split(",") for line in lines]  # nothing in this file is quoted
        folded = FoldedTables(Rules(Definitions(currency="USD")))
        folded.take(messages(self.events(folder / "iso_sales_pipeline.csv")))
        totals: Counter[str] = Counter()
        months: Counter[str] = Counter()
        for (when, field), number in folded.cells.items():
            metric, dimension = field.split("|")
            if len(when) == len("2017-03-01") and "salesperson=" not in dimension:
                totals[metric] += number
                months[when[:7]] += number if metric == "leads" else 0
        assert folded.rejected == []
        assert months == Counter(row[5][:7] for row in rows if row[5])
        assert (totals["booked_sales"], totals["booked_sales_value"]) == (4_238, 10_005_534_00)
        assert totals["new_customers"] == len({row[3] for row in rows if row[4] == "Won"})
        before = dict(folded.cells)
        folded.take(messages(self.events(folder / "sales_pipeline.csv", JULY)))
        assert folded.cells == before
