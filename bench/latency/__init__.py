"""How long it takes from an event's publishing until it is seen, against how many come a second."""

from bench.latency.measuring import command, draw, shown

__all__ = ["command", "draw", "shown"]
