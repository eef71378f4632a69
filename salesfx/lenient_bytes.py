"""Bytes that decode whatever they hold, for the parsers of Kafka's clients, which give up at a name that is not UTF-8."""

from typing import Any, SupportsIndex


class LenientBytes(bytearray):
    """Bytes whose slices decode with replacement characters where they are not UTF-8."""

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        found = super().__getitem__(index)
        return LenientBytes(found) if isinstance(found, bytearray) else found

    def decode(self, encoding: str = "utf-8", _errors: str = "strict") -> str:
        """Decode without fail."""
        return super().decode(encoding, errors="replace")
