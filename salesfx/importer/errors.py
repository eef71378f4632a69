"""What an import can stumble over: the map, the file, or one row."""

from salesfx.errors import NeedsAttentionError


class MapError(NeedsAttentionError):
    """The map is not usable, or does not fit the file."""


class FileError(NeedsAttentionError):
    """The CSV file cannot be read, or not to its end."""


class RowRefused(Exception):  # noqa: N818 - a verdict on a row, not a fault of ours
    """One row cannot be used; its neighbours can. The message says which column is wrong, and why."""
