"""The nemesis, for five minutes: faults of every kind, and not one number is wrong; `make soak` runs it for an hour."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.soak.plan import Kind
from tests.soak.stage import REPOSITORY

pytestmark = pytest.mark.slow


def soak(report: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Run it with everything that it prints shown; give its status and its report."""
    command = [sys.executable, "-m", "tests.soak", "--json", str(report), *options]
    status = subprocess.run(command, cwd=REPOSITORY, check=False).returncode
    return status, json.loads(report.read_text(encoding="utf-8"))


def test_five_minutes_of_faults_change_no_number(tmp_path: Path) -> None:
    """With every kind of fault, tables, offsets, counters and dead letters come out exact, and so is every snapshot."""
    status, report = soak(tmp_path / "report.json", "--minutes", "5")
    assert (status, report["defects"]) == (0, [])
    assert sum(report["faults"].values()) >= 20
    assert set(report["faults"]) == set(Kind)
    assert report["snapshots"] > 100
    assert report["snapshots_exact"] >= 20
    assert report["unusable"] > 0


def test_a_lost_write_does_not_pass(tmp_path: Path) -> None:
    """A minute with workers that now and then store an offset without its data fails, and names cells."""
    options = "--minutes", "1", "--seed", "1", "--keep", str(tmp_path / "kept")
    status, report = soak(tmp_path / "report.json", *options, "--sabotage", "offsets stored without the data")
    assert status == 1
    assert any("should be" in defect for defect in report["defects"])


def test_a_redis_that_is_ten_thousand_events_behind_heals(tmp_path: Path) -> None:
    """An older copy of Redis's data under a running worker: the tables are right again by themselves."""
    status, measured = soak(tmp_path / "report.json", "--old-copy", "10000")
    assert status == 0, measured
    assert measured["behind"] >= 9_000
    assert measured["worker_ends"] == {}
