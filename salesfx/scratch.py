"""Files that are needed while something runs, and of which nothing is left: SQLite's, in the temporary folder."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from salesfx.errors import SalesfxError


def temporary_folder() -> Path:
    """Name the folder in which SQLite itself puts what it sorts, so that all lies in one."""
    named = (os.environ.get(name) for name in ("SQLITE_TMPDIR", "TMPDIR"))
    folders = (Path(folder) for folder in (*named, "/var/tmp", "/usr/tmp", "/tmp") if folder)  # noqa: S108 - SQLite's
    return next((folder for folder in folders if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)), Path())


@contextmanager
def in_temporary_folder(what: str) -> Iterator[None]:
    """Turn SQLite's errors meanwhile into a sentence.

    Args:
        what: Needs room there, about as much as the log has; begins the sentence that says so.

    Raises:
        SalesfxError: In place of an sqlite3.OperationalError: there is no room, or nothing can be written.

    """
    try:
        yield
    except sqlite3.OperationalError as error:
        raise SalesfxError(
            f"the temporary folder {temporary_folder()} cannot be used: {error}. {what} needs there about as much room as "
            "the log has; the variable TMPDIR names another folder."
        ) from error
