"""The worked example of docs/kpis.md: its events, as examples/worked_example.jsonl has them."""

import json
from pathlib import Path

from tests.unit.test_reference import WORKED_TABLES

FILE = Path(__file__).parent.parent / "examples" / "worked_example.jsonl"
EVENTS: list[tuple[str, bytes]] = [
    (json.loads(line)["topic"], line.encode()) for line in FILE.read_text(encoding="utf-8").splitlines()
]
TABLES = WORKED_TABLES[-1]
