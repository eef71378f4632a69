"""A document as text, Markdown or HTML; names in it come from events, and nothing in them is obeyed."""

import re
from collections.abc import Callable
from html import escape

from salesfx.reading.monthly import Document, Table
from salesfx.reading.shown import printable

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~&:@-])")
_FONT = "font-family:Arial,Helvetica,sans-serif;color:#1a1a1a"
_CELL = "padding:4px 10px;border-bottom:1px solid #cccccc;font-size:14px"


def as_text(document: Document) -> str:
    """Write it with aligned columns."""
    blocks = [document.title, *(_text_table(table) for table in document.tables), "\n".join(document.sentences)]
    return "\n\n".join(blocks) + "\n"


def as_markdown(document: Document) -> str:
    """Write it as Markdown with tables."""
    blocks = [f"# {_plain(document.title)}"]
    blocks += [f"## {_plain(table.heading)}\n\n{_markdown_table(table)}" for table in document.tables]
    return "\n\n".join([*blocks, *(_plain(sentence) for sentence in document.sentences)]) + "\n"


def as_html(document: Document) -> str:
    """Write it as a page that a mail can hold: styles stand in the elements, and nothing is loaded."""
    tables = "\n".join(_html_table(table) for table in document.tables)
    sentences = "\n".join(f'<p style="{_FONT};font-size:14px">{escape(each)}</p>' for each in document.sentences)
    title = escape(document.title)
    return (
        f'<!DOCTYPE html>\n<html lang="{document.language}">\n<head><meta charset="utf-8"><title>{title}</title></head>\n'
        f'<body style="margin:16px;background:#ffffff">\n<h1 style="{_FONT};font-size:22px">{title}</h1>\n'
        f"{tables}\n{sentences}\n</body>\n</html>\n"
    )


FORMATS: dict[str, Callable[[Document], str]] = {"text": as_text, "md": as_markdown, "html": as_html}


def _text_table(table: Table) -> str:
    lines = [[printable(_one_line(cell)) for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.columns))]
    written = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([table.heading, "-" * max(map(len, written)), *written])


def _markdown_table(table: Table) -> str:
    rule = "|".join(["", "---", *["---:"] * (len(table.columns) - 1), ""])
    rows = [f"| {' | '.join(_plain(cell) for cell in row)} |" for row in (table.columns, *table.rows)]
    return "\n".join([rows[0], rule, *rows[1:]])


def _html_table(table: Table) -> str:
    def row(tag: str, cells: list[str]) -> str:
        aligned = ("left" if column == 0 else "right" for column in range(len(cells)))
        return "".join(
            f'<{tag} style="{_CELL};text-align:{side}">{escape(cell)}</{tag}>'
            for side, cell in zip(aligned, cells, strict=True)
        )

    rows = "\n".join(f"<tr>{row('td', cells)}</tr>" for cells in table.rows)
    return (
        f'<h2 style="{_FONT};font-size:17px">{escape(table.heading)}</h2>\n'
        f'<table style="{_FONT};border-collapse:collapse">\n<tr>{row("th", table.columns)}</tr>\n{rows}\n</table>'
    )


def _plain(text: str) -> str:
    """Take from text what Markdown would take for a mark."""
    return _MARKDOWN.sub(r"\\\1", printable(_one_line(text)))


def _one_line(text: str) -> str:
    """Write the spaces that do not break as plain ones: terminals and chats know these."""
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")
