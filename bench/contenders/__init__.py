"""The systems that are compared."""

from importlib import import_module

from bench.contenders.contender import Contender

_CLASSES = {
    "salesfx": ("salesfx_worker", "SalesfxWorker"),
    "salesfx-two": ("salesfx_worker", "TwoWorkers"),
    "floor": ("floor", "Floor"),
    "faust": ("faust_tables", "FaustTables"),
    "quix": ("quix_streams", "QuixStreams"),
    "kafka-streams-alo": ("kafka_streams", "AtLeastOnce"),
    "kafka-streams-eos": ("kafka_streams", "ExactlyOnce"),
}
NAMES = tuple(_CLASSES)
"""By which `--only` names them."""


def contender(name: str) -> Contender:
    """Make one, by its name."""
    module, cls = _CLASSES[name]
    made: Contender = getattr(import_module(f"bench.contenders.{module}"), cls)()
    return made
