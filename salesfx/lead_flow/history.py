"""A history of leads out of the rows of a file: how many came by local day, and by hour where the file has times."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from salesfx.decoder import normalise_name
from salesfx.events import FIRST_YEAR, LAST_YEAR
from salesfx.importer.errors import FileError, RowRefused
from salesfx.importer.written import Dates, parse_integer, parse_moment
from salesfx.refusal import Refused

MOST_DAYS = 3_700
"""Ten years: a longer history is a date misread."""
MOST_SOURCES = 50
"""Further ones, those with the fewest leads, are taken together."""
OTHER = "other"
_MOST_NAMES = 10_000
_A_DAY = 24
_SHOWN = 100
_MOST_AT_ONCE = 1_000_000


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a row has what is read; None is not read."""

    time: int
    source: int | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class History:
    """How many leads came."""

    first: date
    total: Sequence[Sequence[int]]
    """Of each day from the first on, by hour, or as one number where only days are known."""
    sources: Mapping[str, Sequence[Sequence[int]]]
    """The same of each source, by its name."""

    @property
    def slots(self) -> int:
        """Slots of a day: 24 hours, or 1."""
        return len(self.total[0])


class HistoryReader:
    """Takes rows one after the other.

    Args:
        columns: Where to find what is read.
        date_format: `iso`, `day-first` or `month-first`, or a format of Python's strptime, which has a % in it.
        timezone: Of the business; times without an offset are in it.
        source: Gives the name under which a source counts; blank is None.

    """

    def __init__(self, columns: Columns, date_format: str, timezone: str, source: Callable[[str | None], str]) -> None:
        self._columns = columns
        self._format = date_format
        self._zone = ZoneInfo(timezone)
        self._source = source
        self._counts: Counter[tuple[date, int, str]] = Counter()
        self._names: set[str] = set()
        self._has_times = False

    def take(self, cells: Sequence[str]) -> None:
        """Take a row.

        Raises:
            RowRefused: It cannot be used; the message says what is wrong, and why.

        """
        written = _cell(cells, self._columns.time, "time")
        try:
            moment = self._moment(written)
        except ValueError as error:
            raise RowRefused(f"the time {written[:_SHOWN]!r} {error}") from None
        if not FIRST_YEAR <= moment.year <= LAST_YEAR:
            raise RowRefused(f"the time {written[:_SHOWN]!r} is not in the years {FIRST_YEAR} to {LAST_YEAR}")
        number = 1
        if self._columns.count is not None:
            written = _cell(cells, self._columns.count, "count")
            try:
                number = parse_integer(written)
            except ValueError as error:
                raise RowRefused(f"the count {written[:_SHOWN]!r} {error}") from None
            if number > _MOST_AT_ONCE:
                raise RowRefused(f"the count {written[:_SHOWN]!r} is above {_MOST_AT_ONCE:,}")
        # A date alone is exported as midnight too, and read as noon.
        self._has_times |= (moment.hour, moment.minute) not in {(0, 0), (12, 0)}
        self._counts[moment.date(), moment.hour, self._name(cells)] += number

    def history(self) -> History:
        """Give what all rows come to: by hours where they have times, else by days.

        Raises:
            FileError: There was no row to be used, or they lie further apart than any history.

        """
        if not self._counts:
            raise FileError("no row of the file can be used")
        days = [day for day, _, _ in self._counts]
        first, last = min(days), max(days)
        number = (last - first).days + 1
        if number > MOST_DAYS:
            raise FileError(
                f"the leads are dated from {first} to {last}: more than ten years are not judged. Is a date misread?"
            )
        slots = _A_DAY if self._has_times else 1
        shown = self._shown()
        total = [[0] * slots for _ in range(number)]
        sources = {name: [[0] * slots for _ in range(number)] for name in sorted(set(shown.values()))}
        for (day, hour, source), count in self._counts.items():
            place, slot = (day - first).days, hour if self._has_times else 0
            total[place][slot] += count
            if shown:
                sources[shown[source]][place][slot] += count
        return History(first, total, sources)

    def _moment(self, written: str) -> datetime:
        if "%" not in self._format:
            return parse_moment(written, self._dates, self._zone).astimezone(self._zone)
        try:
            moment = datetime.strptime(written, self._format)  # noqa: DTZ007 - without an offset it is in the zone
        except ValueError:
            raise ValueError(f"is not written as {self._format}") from None
        return moment.replace(tzinfo=self._zone) if moment.tzinfo is None else moment.astimezone(self._zone)

    @property
    def _dates(self) -> Dates:
        return "day-first" if self._format == "day-first" else "month-first" if self._format == "month-first" else "iso"

    def _name(self, cells: Sequence[str]) -> str:
        if self._columns.source is None:
            return ""
        written = cells[self._columns.source] if self._columns.source < len(cells) else ""
        try:
            name = self._source(normalise_name(written, "source"))
        except Refused as refused:
            raise RowRefused(str(refused)) from None
        if name not in self._names and len(self._names) >= _MOST_NAMES:
            return OTHER
        self._names.add(name)
        return name

    def _shown(self) -> Mapping[str, str]:
        """Give the name under which each source is shown; nothing where none is read."""
        if self._columns.source is None:
            return {}
        leads = Counter[str]()
        for (_, _, source), count in self._counts.items():
            leads[source] += count
        kept = {name for name, _ in leads.most_common(MOST_SOURCES)}
        return {name: name if name in kept else OTHER for name in leads}


def _cell(cells: Sequence[str], place: int, name: str) -> str:
    if place >= len(cells) or not cells[place].strip():
        raise RowRefused(f"there is no {name}")
    return cells[place].strip()
