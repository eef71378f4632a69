"""Rows out of a CSV file, numbered as a spreadsheet shows them."""

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from salesfx.importer.errors import FileError, MapError
from salesfx.importer.map import FileFormat, Map

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_rows(binary: BinaryIO, file: FileFormat) -> Iterator[tuple[int, list[str]]]:
    """Read a CSV file row by row.

    Args:
        binary: The file, opened for bytes and buffered (`peek` is used where there is one).
        file: How it is written.

    Yields:
        Row number and cells. The header is row 1; a row with a line break in a quoted cell is one row, an empty line is
        one too, which is counted and left out. A byte that the encoding does not have becomes a lone surrogate.

    Raises:
        FileError: It cannot be read further, after the row that is named.

    """
    encoding = "utf-8-sig" if codecs.lookup(file.encoding).name == "utf-8" else file.encoding
    if encoding == "utf-8-sig" and isinstance(binary, io.BufferedReader) and binary.peek(2)[:2] in _UTF_16:
        raise FileError('the file is in UTF-16: write encoding = "utf-16" under [file] of the map')
    text = io.TextIOWrapper(binary, encoding=encoding, errors="surrogateescape", newline="")
    number = 0
    try:
        for number, cells in enumerate(csv.reader(text, delimiter=file.delimiter, strict=True), start=1):
            if any(cell and not cell.isspace() for cell in cells):
                yield number, cells
    except (csv.Error, UnicodeError) as error:
        raise FileError(
            f"the file cannot be read after row {number}: {error}. Rows before it were used; importing the mended file "
            "again is safe."
        ) from error
    except OSError as error:
        raise FileError(f"the file cannot be read after row {number}: {error.strerror}") from error


def check_header(header: list[str], mapping: Map) -> dict[str, int]:
    """Find the columns that the map reads.

    Returns:
        The place in a row of each of them.

    Raises:
        MapError: A column is missing, or is there twice; the message names it and what is there.

    """
    wanted = {column: f"{place} of the map" for column, place in mapping.columns().items()}
    return find_columns(header, wanted, mapping.file.delimiter)


def find_columns(header: list[str], wanted: Mapping[str, str], delimiter: str) -> dict[str, int]:
    """Find columns by their names.

    Args:
        header: Row 1.
        wanted: The names, each with what it is read by.
        delimiter: By which the header was split.

    Returns:
        The place in a row of each of them.

    Raises:
        MapError: A column is missing, or is there twice; the message names it and what is there.

    """
    names = [name.strip() for name in header]
    for column, reader in wanted.items():
        if column not in names:
            raise MapError(f"the file has no column {column!r}, which {reader} reads; {_there(names, delimiter)}")
        if names.count(column) > 1:
            raise MapError(f"the file has more than one column {column!r}, which {reader} reads")
    return {column: names.index(column) for column in wanted}


def _there(names: list[str], used: str) -> str:
    if len(names) == 1:
        for delimiter in ",;\t|":
            if delimiter in names[0] and delimiter != used:
                return f"is the delimiter {delimiter!r}? The first line is {names[0][:200]!r}"
    return "it has " + ", ".join(repr(name) for name in names)
