"""The reading side: what the tables say, for people and for machines."""

from salesfx.reading.month import Month, current_month, local_today
from salesfx.reading.months import MonthHeadline, MonthList, month_list
from salesfx.reading.reader import NoTablesError, Reader
from salesfx.reading.report import MonthReport, month_report
from salesfx.tables.away import TablesAwayError

__all__ = [
    "Month",
    "MonthHeadline",
    "MonthList",
    "MonthReport",
    "NoTablesError",
    "Reader",
    "TablesAwayError",
    "current_month",
    "local_today",
    "month_list",
    "month_report",
]
