"""The list of names and ids that are withdrawn: a part of the definitions.

It holds no name: an entry has a keyed digest of one, by which it is known again, and a random token that stands for it in
records, tables and labels. Who has the list, with its key, can try names; so it is in its file only, and Redis has no more than
its length and a hash.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from enum import StrEnum
from functools import cached_property

import msgspec

from salesfx.errors import NeedsAttentionError

TOKEN_PREFIX = "forgotten-"  # noqa: S105 - of a token that everybody may see
_TOKEN_BYTES, _KEY_BYTES = 16, 32
MOST_ENTRIES = 100_000


class Kind(StrEnum):
    """What can be withdrawn."""

    SALESPERSON = "salesperson"
    LEAD = "lead"
    ACCOUNT = "account"


_BEFORE = {kind: f"{kind}\0" for kind in Kind}


class SealedListError(NeedsAttentionError):
    """Events are to be read under a list that is not there."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One name or id that is withdrawn."""

    kind: Kind
    digest: str
    """HMAC-SHA256 of kind and value, in hexadecimal."""
    token: str
    """What stands for it: says nothing about it."""


class Stored(msgspec.Struct, frozen=True):
    """What is stored of a list with tables: it grows at its end only, so this tells whether another list goes on from it."""

    count: int
    """Entries."""
    digest: str
    """Of these and the key."""


class Forgotten(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """What is withdrawn: the list itself, or, read back from tables, which list it was."""

    entries: tuple[Entry, ...] = ()
    """The oldest first."""
    key: str = ""
    """Secret, in hexadecimal."""
    count: int = 0
    digest: str = ""
    """As `Stored`; in the file they tell damage."""

    def __bool__(self) -> bool:
        return bool(self.entries) or self.count > 0

    @property
    def is_sealed(self) -> bool:
        """Whether only what is stored with tables is there: it can be compared, but not applied."""
        return self.count > 0 and not self.entries

    @cached_property
    def stored(self) -> Stored:
        """What is stored with tables that are made under it."""
        return Stored(self.count, self.digest) if self.is_sealed else self._first(len(self.entries))

    def _first(self, count: int) -> Stored:
        told = msgspec.json.encode([self.key, [msgspec.structs.astuple(entry) for entry in self.entries[:count]]])
        return Stored(count, hashlib.sha256(told).hexdigest()[:32])

    def goes_on_from(self, former: "Forgotten") -> bool:
        """Tell whether everything is withdrawn that was, under the same tokens."""
        count = former.stored.count
        if self.is_sealed or not former:
            return not former or self.stored == former.stored
        return len(self.entries) >= count and self._first(count) == former.stored

    def opened(self, ours: "Forgotten") -> "Forgotten":
        """Give what was read back from tables its entries, out of our list where that goes on from it."""
        if not self.is_sealed or ours.is_sealed or not ours.goes_on_from(self):
            return self
        return Forgotten(ours.entries[: self.count], ours.key)

    def token_of(self, kind: Kind, value: str) -> str | None:
        """Give what stands for a value; None where it is not withdrawn.

        Raises:
            SealedListError: The list is not there.

        """
        if not self:
            return None
        if self.is_sealed:
            raise list_is_missing()
        return self._tokens.get((kind, digest_of(bytes.fromhex(self.key), kind, value).hex()))

    @cached_property
    def _tokens(self) -> dict[tuple[Kind, str], str]:
        return {(entry.kind, entry.digest): entry.token for entry in self.entries}

    def with_values(self, kind: Kind, values: Iterable[str], begun: "Forgotten | None" = None) -> "Forgotten":
        """Withdraw further values; those that are withdrawn keep their token.

        Args:
            kind: What they are.
            values: Normalised.
            begun: Of a withdrawal that was interrupted: where it has one of the values, its token is taken.

        """
        key = self.key or (begun.key if begun else "") or secrets.token_hex(_KEY_BYTES)
        told = Forgotten(self.entries, key)
        drawn = begun if begun is not None and begun.key == key else Forgotten()
        new = [
            Entry(kind, digest_of(bytes.fromhex(key), kind, value).hex(), drawn.token_of(kind, value) or new_token())
            for value in dict.fromkeys(values)
            if told.token_of(kind, value) is None
        ]
        return Forgotten((*self.entries, *new), key)

    def redrawn(self, count: int) -> "Forgotten":
        """Draw again what stands for all but the first entries."""
        new = (msgspec.structs.replace(entry, token=new_token()) for entry in self.entries[count:])
        return Forgotten((*self.entries[:count], *new), self.key)

    def written(self) -> bytes:
        """Give the JSON of its file."""
        told = Forgotten(self.entries, self.key, self.stored.count, self.stored.digest)
        return msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n"


def digest_of(key: bytes, kind: Kind, value: str) -> bytes:
    """Give the digest by which a value is known again."""
    return hmac.digest(key, (_BEFORE[kind] + value).encode(), "sha256")


def read_written(content: bytes) -> Forgotten:
    """Read the JSON of a file.

    Raises:
        ValueError: It is no list, or a damaged one.

    """
    told = msgspec.json.decode(content, type=Forgotten)
    forgotten = Forgotten(told.entries, told.key)
    if not told.key or forgotten.stored != Stored(told.count, told.digest):
        raise ValueError("the list is damaged")
    return forgotten


def list_is_missing() -> SealedListError:
    """Say what to do."""
    return SealedListError(
        "names and ids were withdrawn from these tables, and the list that says which is not there. Name it with "
        "`forgotten_file` in the settings (SALESFX_FORGOTTEN_FILE), as for the workers; see docs/forget.md"
    )


def new_token() -> str:
    """Draw what stands for a value."""
    return TOKEN_PREFIX + secrets.token_hex(_TOKEN_BYTES)
