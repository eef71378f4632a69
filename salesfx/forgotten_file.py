"""The file with the list of what is withdrawn: private, and replaced as a whole."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

from salesfx.errors import NeedsAttentionError
from salesfx.forgotten import MOST_ENTRIES, Forgotten, check_of

_MOST_BYTES = 256 * MOST_ENTRIES


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
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ForgottenFileError(f"cannot read the list of what is withdrawn in {path}: {error.strerror}") from error
    if mode & 0o077:
        raise ForgottenFileError(
            f"{path}, the list of what is withdrawn, holds a secret key and may be read by others: chmod 600 {path}"
        )
    try:
        forgotten = msgspec.json.decode(content, type=Forgotten)
        usable = len(content) <= _MOST_BYTES and forgotten.key and forgotten.check == check_of(forgotten.key)
    except (msgspec.MsgspecError, ValueError):
        usable = False
    if not usable:
        raise ForgottenFileError(
            f"{path} is no list of what is withdrawn, or a damaged one. Put a copy of it back, from another machine that "
            "has it or from a backup; without it nothing can be added to the tables. See docs/forget.md"
        )
    return forgotten


def write_forgotten(path: Path, forgotten: Forgotten) -> None:
    """Put a list into the place of another at once, readable by its owner only.

    Raises:
        ForgottenFileError: It cannot be written.

    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(forgotten), indent=1) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)  # noqa: PTH105 - as it stands in the documentation of POSIX
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(name)  # noqa: PTH108
            raise
    except OSError as error:
        raise ForgottenFileError(f"cannot write the list of what is withdrawn to {path}: {error.strerror}") from error


def pending(path: Path) -> Path:
    """Name the file beside it with the list that is to take its place, while the tables are made anew."""
    return path.with_name(path.name + ".pending")
