"""Figures of several runs, and how they are kept and shown."""

import json
import math
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import describe

FOLDER = Path(__file__).parent / "results"


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Give the median of some runs, the least and the greatest, and all of them."""
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values), "runs": list(values)}


def quantile(ordered: Sequence[float], share: float) -> float:
    """Give the value below which a share of sorted values lies: the nearest rank, so that one was really seen."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def keep(name: str, figures: dict[str, Any], file: Path | None = None) -> Path:
    """Write figures down, with the day and the machine.

    Args:
        name: Of the benchmark.
        figures: What it measured.
        file: Where to; None is among the results that the documentation shows.

    """
    place = file or FOLDER / f"{name}.json"
    place.parent.mkdir(exist_ok=True)
    whole = {"benchmark": name, "day": datetime.now(UTC).date().isoformat(), "machine": describe(), **figures}
    place.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return place


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
