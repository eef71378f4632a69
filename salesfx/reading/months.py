"""Every month that has a table, with its headline numbers, as `/api/months` gives them."""

import msgspec

from salesfx.money import decimal_string
from salesfx.reading.numbers import Numbers, of_month
from salesfx.tables.layout import MONTH
from salesfx.tables.store import Snapshot


class MonthHeadline(msgspec.Struct, frozen=True):
    """One month in a line; values as decimal strings of the reporting currency."""

    month: str
    leads: int
    qualified_leads: int
    new_customers: int
    booked_value: str
    planned_value: str


class MonthList(msgspec.Struct, frozen=True):
    """The months, the oldest first."""

    months: list[MonthHeadline]


def month_list(snapshot: Snapshot) -> MonthList:
    """List the months.

    Args:
        snapshot: Must hold the table of each of its months.

    """
    return MonthList([headline(of_month(snapshot.tables[MONTH + month]), month) for month in sorted(snapshot.months)])


def headline(numbers: Numbers, month: str) -> MonthHeadline:
    """Write a month's numbers, or those of some of its days, in a line."""
    return MonthHeadline(
        month=month,
        leads=numbers.total("leads"),
        qualified_leads=numbers.total("qualified_leads"),
        new_customers=numbers.total("new_customers"),
        booked_value=decimal_string(numbers.total("booked_sales_value")),
        planned_value=decimal_string(numbers.total("planned_sales_value")),
    )
