"""Tables compared cell by cell with what they come to when they are computed again."""

from collections.abc import Iterable, Mapping

from salesfx.audit.findings import MAX_BEHIND, CellDifference, Listed, Report
from salesfx.audit.recomputation import tables_of
from salesfx.tables.layout import DAYS, HOURS, MONTH

Cell = tuple[str, str]
"""When and field; when is a month (2026-10) for its totals, a date, or an hour (2026-10-05T09)."""

_FIRST_YEAR, _LAST_YEAR = 1999, 2201
"""Years that a local date can lie in: an event of 2100 plus the longest sales cycle that the settings allow."""
_KINDS = (MONTH, DAYS, HOURS)


def table_names(month: str | None) -> list[str]:
    """Name every table that there can be, listed as a month or not, so that a stray one is seen too.

    Args:
        month: Like 2026-10, to name that month's only.

    """
    months = [f"{year}-{number:02}" for year in range(_FIRST_YEAR, _LAST_YEAR + 1) for number in range(1, 13)]
    return [kind + name for name in ([month] if month else months) for kind in _KINDS]


class Comparison:
    """The cells that differ, and who is behind them."""

    def __init__(
        self, tables: Mapping[str, Mapping[str, int]], cells: Mapping[Cell, int], computed_from: str, month: str | None
    ) -> None:
        """Compare.

        Args:
            tables: By name.
            cells: What they should come to, by date or hour and field.
            computed_from: What the cells were computed from: `records` or `log`.
            month: To compare that month only.

        """
        self.compared = 0
        self.differences: Listed[CellDifference] = Listed()
        self._behind: dict[Cell, Listed[str]] = {}
        computed = tables_of(cells)
        for name in sorted(tables.keys() | computed.keys(), key=_order):
            if month is None or name.endswith(f":{month}"):
                self._compare(name, tables.get(name, {}), computed.get(name, {}), computed_from)

    def _compare(self, name: str, stored: Mapping[str, int], computed: Mapping[str, int], computed_from: str) -> None:
        self.compared += len(stored.keys() | computed.keys())
        if stored == computed:
            return
        for field in sorted(stored.keys() | computed.keys()):
            ours, theirs = stored.get(field, 0), computed.get(field, 0)
            if ours == theirs:
                continue
            difference = CellDifference(
                computed_from=computed_from,
                table=name,
                field=field,
                in_tables=ours,
                computed=theirs,
                behind=Listed(),
            )
            self.differences.note(difference)
            if self.differences.listed[-1] is difference:
                self._behind[_cell(name, field)] = difference.behind

    def __bool__(self) -> bool:
        """Whether there is a difference of which somebody could be behind."""
        return bool(self._behind)

    def note(self, entity: str, cells: Iterable[Cell]) -> None:
        """Name an entity behind those of the differing cells that it contributes to."""
        found = {wanted for when, field in cells for wanted in self._wanted(when, field)}
        for cell in found:
            self._behind[cell].note_sorted(entity, str, MAX_BEHIND)

    def report(self, report: Report) -> None:
        """Put the differences into a report."""
        report.differences.total += self.differences.total
        report.differences.listed.extend(self.differences.listed)

    def _wanted(self, when: str, field: str) -> Iterable[Cell]:
        if (when, field) in self._behind:
            yield when, field
        if "T" not in when and (when[:7], field) in self._behind:
            yield when[:7], field


def _order(name: str) -> tuple[str, int]:
    kind, month = name.split(":", 1)
    return month, _KINDS.index(kind + ":")


def _cell(name: str, field: str) -> Cell:
    kind, month = name.split(":", 1)
    if kind + ":" == MONTH:
        return month, field
    within, _, rest = field.partition("|")
    return f"{month}-{within}", rest
