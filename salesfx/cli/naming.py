"""Errors about a file that is read, with its name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from salesfx.importer import FileError, MapError


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with it."""
    try:
        yield
    except (FileError, MapError) as error:
        raise type(error)(f"{file}: {error}") from error
