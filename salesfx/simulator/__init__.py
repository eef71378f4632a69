"""A believable CRM of a sales team, simulated: history for a demonstration, and load for tests and benchmarks.

No I/O and no clock: the events are a function of the seed and the dates that are given.
"""

from .bulk import load
from .process import SimulatedEvent, history, live, simulate

__all__ = ["SimulatedEvent", "history", "live", "load", "simulate"]
