"""The KPI tables, computed the plain way: from a list of all events, at once.

It is written from the description of the numbers alone and shares no code with the fold (only the type of the settings),
so that the two can be compared. It keeps no state, merges nothing and knows no order of arrival: it reads every event,
picks the winning version of each entity, puts the entities under their leads and the won deals under their accounts, and
then works out each rule by itself. "Rule n" in a comment is the n-th rule of "From events to numbers".
"""

from salesfx.audit.recomputation.cells import cells_of, contributions, recomputed_cells, tables_of
from salesfx.audit.recomputation.event import Event, from_canonical, read_event, refused
from salesfx.audit.recomputation.refusal import HeartbeatError, NoRateError, RefusedError
from salesfx.audit.recomputation.world import World

__all__ = [
    "Event",
    "HeartbeatError",
    "NoRateError",
    "RefusedError",
    "World",
    "cells_of",
    "contributions",
    "from_canonical",
    "read_event",
    "recomputed_cells",
    "refused",
    "tables_of",
]
