"""The list of names and ids that are withdrawn: a part of the definitions.

It holds no name: an entry has a keyed digest of one, by which it is known again, and a random token that stands for it in
records, tables and labels. Who has the key can try names, so the key is in the list's file only, and never in Redis.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from salesfx.errors import NeedsAttentionError

TOKEN_PREFIX = "forgotten-"  # noqa: S105 - of a token that everybody may see
_TOKEN_BYTES, _KEY_BYTES = 16, 32
MOST_ENTRIES = 100_000
"""They are stored with the tables as a whole."""


class Kind(StrEnum):
    """What can be withdrawn."""

    SALESPERSON = "salesperson"
    LEAD = "lead"
    ACCOUNT = "account"


class SealedListError(NeedsAttentionError):
    """Events are to be read under a list of which only the tables' copy is there, which has no key."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One name or id that is withdrawn."""

    kind: Kind
    digest: str
    """HMAC-SHA256 of kind and value, in hexadecimal."""
    token: str
    """What stands for it: says nothing about it."""


class Forgotten(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is withdrawn."""

    entries: tuple[Entry, ...] = ()
    check: str = ""
    """Tells one key from another."""
    key: str = ""
    """Secret, in hexadecimal; empty in the copy that is stored with the tables."""

    def __bool__(self) -> bool:
        return bool(self.entries)

    def sealed(self) -> "Forgotten":
        """Give the copy that is stored with the tables, its entries in one order."""
        return Forgotten(tuple(sorted(self.entries, key=lambda entry: entry.token)), self.check)

    def opened(self, ours: "Forgotten") -> "Forgotten":
        """Give a list that was read from the tables its key, where ours has the same."""
        return msgspec.structs.replace(self, key=ours.key) if self.check == ours.check else self

    def digest(self, kind: Kind, value: str) -> str:
        """Give the digest of a value as it stands in an event, normalised.

        Raises:
            SealedListError: The key is not there.

        """
        if not self.key:
            raise SealedListError(
                "names and ids were withdrawn from these tables, and the list that says which is not there. Name it with "
                "`forgotten_file` in the settings (SALESFX_FORGOTTEN_FILE), as for the workers; see docs/forget.md"
            )
        return hmac.digest(bytes.fromhex(self.key), f"{kind}\0{value}".encode(), "sha256").hex()

    def token_of(self, kind: Kind, value: str) -> str | None:
        """Give what stands for a value; None where it is not withdrawn."""
        digest = self.digest(kind, value) if self.entries else ""
        return next((entry.token for entry in self.entries if (entry.kind, entry.digest) == (kind, digest)), None)

    def with_values(self, kind: Kind, values: Iterable[str]) -> "Forgotten":
        """Withdraw further values; those that are withdrawn keep their token."""
        key = self.key or secrets.token_hex(_KEY_BYTES)
        opened = Forgotten(self.entries, check_of(key), key)
        new = [
            Entry(kind, opened.digest(kind, value), new_token())
            for value in dict.fromkeys(values)
            if opened.token_of(kind, value) is None
        ]
        return msgspec.structs.replace(opened, entries=(*self.entries, *new))

    def with_other_tokens(self, tokens: Sequence[str]) -> "Forgotten":
        """Draw again what stands for some entries."""
        entries = (
            msgspec.structs.replace(entry, token=new_token()) if entry.token in tokens else entry
            for entry in self.entries
        )
        return msgspec.structs.replace(self, entries=tuple(entries))


def check_of(key: str) -> str:
    """Tell a key from others, without telling it."""
    return hashlib.sha256(b"salesfx forgotten\0" + bytes.fromhex(key)).hexdigest()[:16]


def new_token() -> str:
    """Draw what stands for a value."""
    return TOKEN_PREFIX + secrets.token_hex(_TOKEN_BYTES)
