"""The file with the list of what is withdrawn: private, and replaced as a whole."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

from salesfx.durable import sync_folder
from salesfx.errors import NeedsAttentionError
from salesfx.forgotten import MOST_ENTRIES, Forgotten, read_written

_MOST_BYTES = 1024 + 512 * MOST_ENTRIES


class ForgottenFileError(NeedsAttentionError):
    """The file cannot be used."""


def read_forgotten(path: Path) -> Forgotten | None:
    """Read a list; None where there is no such file.

    Raises:
        ForgottenFileError: It cannot be read, is no such list, or others may read it.

    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MOST_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ForgottenFileError(f"cannot read the list of what is withdrawn in {path}: {error.strerror}") from error
    if mode & 0o007:
        raise ForgottenFileError(
            f"{path}, the list of what is withdrawn, holds a secret key, and everybody may read it: chmod 600 {path}"
        )
    try:
        return read_written(content)
    except (msgspec.MsgspecError, ValueError):
        raise ForgottenFileError(
            f"{path} is no list of what is withdrawn, or a damaged one. Put a copy of it back, from another machine that "
            "has it or from a backup; without it nothing can be added to the tables. See docs/forget.md"
        ) from None


def missing(named: str | None) -> str | None:
    """Say that the list that settings name is not there; None where it is, or where they name none."""
    if not named or Path(named).exists():
        return None
    return f"forgotten_file names {named}, which is not there: nothing is withdrawn"


def write_forgotten(path: Path, forgotten: Forgotten) -> None:
    """Put a list into the place of another at once, readable by its owner only.

    Raises:
        ForgottenFileError: It cannot be written.

    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(forgotten.written())
                file.flush()
                os.fsync(file.fileno())
                _keep_owner(path, file.fileno())
            Path(name).replace(path)
            sync_folder(path.parent)  # tables that are shown next are worth nothing without the list
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ForgottenFileError(f"cannot write the list of what is withdrawn to {path}: {error.strerror}") from error


def _keep_owner(path: Path, descriptor: int) -> None:
    """Let those read it who could read the one before: workers may run as another user than whoever runs this."""
    with suppress(FileNotFoundError):
        before = path.stat()
        with suppress(PermissionError):  # only root gives files away
            os.fchown(descriptor, before.st_uid, -1)
        with suppress(PermissionError):  # another group than the one that could read it is not to
            os.fchown(descriptor, -1, before.st_gid)
            os.fchmod(descriptor, 0o600 | (before.st_mode & 0o040))


def remove_pending(path: Path) -> None:
    """Take away the list that was to take a list's place, where there is one.

    Raises:
        ForgottenFileError: It cannot be removed.

    """
    try:
        pending(path).unlink(missing_ok=True)
    except OSError as error:
        raise ForgottenFileError(
            f"cannot remove {pending(path)}: {error.strerror}. Everything else is done; remove it by hand, it is of no use any more"
        ) from error


def pending(path: Path) -> Path:
    """Name the file beside it with the list that is to take its place, while the tables are made anew."""
    return path.with_name(path.name + ".pending")
