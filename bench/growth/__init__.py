"""What changes when the tables have grown: the cost of an event, memory, starting, reading, and what is very large."""

from bench.growth.measuring import command, draw, is_drawable, shown

__all__ = ["command", "draw", "is_drawable", "shown"]
