"""The KPI tables: their layout, the commit, the atomic reader."""

from salesfx.tables.connection import connect
from salesfx.tables.memory import MemoryTables
from salesfx.tables.redis import RedisTables, tables_of
from salesfx.tables.store import Snapshot, Tables, TablesGoneError, View, ViewLostError

__all__ = [
    "MemoryTables",
    "RedisTables",
    "Snapshot",
    "Tables",
    "TablesGoneError",
    "View",
    "ViewLostError",
    "connect",
    "tables_of",
]
