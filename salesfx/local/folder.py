"""The data folder: made private, its small files written whole."""

import contextlib
import os
import secrets
from pathlib import Path

from salesfx.local.errors import LocalSetupError


def prepare(data: Path) -> Path:
    """Make the data folder (mode 0700) where it is missing; return its absolute path.

    Raises LocalSetupError where it cannot be made or written to.
    """
    data = data.expanduser().absolute()
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        trial = data / f".writable-{secrets.token_hex(4)}"
        trial.touch(mode=0o600)
        trial.unlink()
    except OSError as error:
        raise LocalSetupError(
            f"The data folder {data} cannot be written to ({error.strerror}). "
            "Choose another with --data, or give yourself the right to write there."
        ) from error
    return data


def private_folder(folder: Path) -> Path:
    """Make a folder (mode 0700) where it is missing; return it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def write_private(path: Path, text: str) -> None:
    """Write a file whole, or not at all, readable by its owner alone."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def kept_secret(path: Path) -> str:
    """Return the secret kept in a file, made at the first call."""
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        secret = ""
    if not secret:
        secret = secrets.token_urlsafe(32)
        write_private(path, secret + "\n")
    return secret
