"""What a withdrawal sees to about the list's file: that nobody else changes it meanwhile, and that its readers stay."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from salesfx.errors import SalesfxError
from salesfx.forgotten_file import ForgottenFileError
from salesfx.local.file_lock import FileLock


class BeingChangedError(SalesfxError):
    """Somebody else is changing the list."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Be the only one that changes a list and makes tables under it, on this machine.

    Raises:
        BeingChangedError: Somebody else is.
        ForgottenFileError: That cannot be told.

    """
    beside = path.with_name(f".{path.name}.lock")
    lock = FileLock(beside)
    try:
        is_ours = lock.acquire(wait=False)
    except OSError as error:
        raise ForgottenFileError(
            f"cannot lock the list of what is withdrawn by the file {beside}: {error.strerror}. Where another user has left "
            "it, and no `salesfx forget` runs, remove it"
        ) from error
    if not is_ours:
        raise BeingChangedError(
            f"another `salesfx forget` is at work with the list in {path}; this one has changed nothing. Run it again when the "
            "other has ended"
        )
    try:
        yield
    finally:
        lock.release()


def check_readers(path: Path) -> None:
    """Look whether those who can read a list could read one that is put into its place.

    Raises:
        ForgottenFileError: They could not.

    """
    try:
        before = path.stat()
    except FileNotFoundError:
        return
    user, is_of_group = os.geteuid(), before.st_gid in {os.getegid(), *os.getgroups()}
    by_group = bool(before.st_mode & 0o040)
    group_stays = is_of_group or not by_group
    owner_stays = before.st_uid == user or (by_group and is_of_group and _is_member(before.st_uid, before.st_gid))
    if user != 0 and not (group_stays and owner_stays):
        raise ForgottenFileError(
            f"{path}, the list of what is withdrawn, belongs to another user or group, who could not read it any more when this user "
            "has written it anew, so workers could not start. Nothing was begun. Run `salesfx forget` as root or as the user "
            "that the workers run as; or let them read it by a group that this user is in too (chgrp, chmod 640)"
        )


def _is_member(user: int, group: int) -> bool:
    try:
        entry = pwd.getpwuid(user)
    except KeyError:
        return False
    return group in os.getgrouplist(entry.pw_name, entry.pw_gid)
