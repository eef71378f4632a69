"""Events out of a CRM's CSV export: the map, the rows, and what they make. No I/O beyond what it is handed."""

from salesfx.importer.errors import FileError, MapError, RowRefused
from salesfx.importer.importer import Importer, Made
from salesfx.importer.map import FileFormat, Map, load_map, parse_map
from salesfx.importer.rows import read_rows
from salesfx.importer.written import parse_moment

__all__ = [
    "FileError",
    "FileFormat",
    "Importer",
    "Made",
    "Map",
    "MapError",
    "RowRefused",
    "load_map",
    "parse_map",
    "parse_moment",
    "read_rows",
]
