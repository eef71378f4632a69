"""The KPI tables: their layout, the commit, the atomic reader."""

from salesfx.tables.memory import MemoryTables
from salesfx.tables.redis import RedisTables, connect
from salesfx.tables.store import Snapshot, Tables

__all__ = ["MemoryTables", "RedisTables", "Snapshot", "Tables", "connect"]
