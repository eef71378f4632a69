"""The page `/about`: what is up, this month's four numbers, and where to look. No script, nothing from elsewhere."""

import base64
import hashlib
from html import escape
from importlib import resources
from string import Template
from typing import NamedTuple

from salesfx import __version__
from salesfx.reading.month import Month
from salesfx.reading.report import MonthReport
from salesfx.reading.shown import grouped, percent, total

_FILES = resources.files("salesfx.web")
_PAGE = Template(_FILES.joinpath("about.html").read_text(encoding="utf-8"))
_STYLE = _FILES.joinpath("about.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Lets the page's own style through and nothing else."""


class State(NamedTuple):
    """One line of what is up."""

    name: str
    good: bool | None
    """None: not known yet."""
    text: str


def about_page(states: list[State], month: Month, report: MonthReport | None) -> str:
    """Write the page.

    Args:
        states: What is up, and what is not.
        month: The current one.
        report: Its KPIs; None where they cannot be read.

    """
    return _PAGE.substitute(
        style=_STYLE,
        version=escape(__version__),
        month=month,
        states="".join(_state(state) for state in states),
        kpis="" if report is None else _kpis(report),
    )


def _state(state: State) -> str:
    kind, word = {True: ("good", "up"), False: ("bad", "down"), None: ("unknown", "not known yet")}[state.good]
    return (
        f'<li class="{kind}"><strong>{escape(state.name)} <small>{word}</small></strong>'
        f"<span>{escape(state.text)}</span></li>"
    )


def _kpis(report: MonthReport) -> str:
    conversion, currency = report.conversion, report.currency
    numbers = (
        (str(report.lead_flow.total), "new leads"),
        (str(report.qualified_leads.count), f"qualified leads, {_amount(report.qualified_leads.value)} {currency}"),
        (
            percent(conversion.ratio),
            f"conversion, {conversion.new_customers} new customer{'' if conversion.new_customers == 1 else 's'}",
        ),
        (
            _amount(total(report.sales.booked.values())),
            f"{currency} booked, {_amount(total(report.sales.planned.values()))} planned",
        ),
    )
    cells = "".join(f"<div><b>{escape(number)}</b><span>{escape(text)}</span></div>" for number, text in numbers)
    return (
        f'<section aria-labelledby="month"><h2 id="month">{escape(report.month)} so far</h2>'
        f'<div class="numbers">{cells}</div></section>'
    )


def _amount(value: str) -> str:
    """Group an amount so that no line breaks within it."""
    return grouped(value).replace(" ", "\N{NO-BREAK SPACE}")
