"""Bytes that decode whatever they hold, for the parsers of Kafka's clients, which give up at a name that is not UTF-8."""

from typing import Any, ClassVar, SupportsIndex


class LenientBytes(bytearray):
    """Bytes whose slices decode with replacement characters where they are not UTF-8."""

    errors: ClassVar[str] = "replace"
    """How what is not UTF-8 is decoded."""

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        found = super().__getitem__(index)
        return type(self)(found) if isinstance(found, bytearray) else found

    def decode(self, encoding: str = "utf-8", _errors: str = "strict") -> str:
        """Decode without fail."""
        return super().decode(encoding, errors=self.errors)


class EscapingBytes(LenientBytes):
    """Bytes whose slices decode so that `exact_name` gives them back."""

    errors = "surrogateescape"


def exact_name(name: str) -> bytes:
    """Give the bytes of a name that was decoded from UTF-8, or by `EscapingBytes`."""
    return name.encode("utf-8", EscapingBytes.errors)
