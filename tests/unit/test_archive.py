"""The manifest of an archive, which says what is in it."""

from pathlib import Path

import msgspec
import pytest

from salesfx.event_log import LogIncompleteError
from salesfx.event_log.archive.manifest import (
    MANIFEST,
    ArchiveDamagedError,
    ArchivedFile,
    Covered,
    Manifest,
    NoArchiveError,
    load_manifest,
    store_manifest,
)
from salesfx.kafka_log import OtherLogError

IDENTITY = {"cluster": "c", "topic:lead_created": "t"}


def file(month: str, begin: int, end: int, name: str | None = None) -> ArchivedFile:
    """Make a file of one partition."""
    covered = (Covered(0, begin, end, end - begin),)
    named = name or f"lead_created-{month}-0123abcd.parquet"
    return ArchivedFile(named, "lead_created", month, "0" * 64, 1, end - begin, covered)


WHOLE = Manifest(IDENTITY, (file("2026-10", 3, 10), file("2026-12", 10, 25)))


def test_a_manifest_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    """Nothing else is left in the folder."""
    store_manifest(tmp_path, WHOLE)
    assert load_manifest(tmp_path) == WHOLE
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]


def test_no_archive_is_said(tmp_path: Path) -> None:
    """With the command that makes one."""
    with pytest.raises(NoArchiveError, match="`salesfx archive --to"):
        load_manifest(tmp_path)


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ((file("2026-10", 3, 10), file("2026-12", 11, 25)), r"up to 10, and .* from 11 on"),
        ((file("2026-10", 3, 10), file("2026-12", 9, 25)), r"up to 10, and .* from 9 on"),
        ((file("2026-10", 3, 10, "../lead_created-2026-10-0123abcd.parquet"),), "is no manifest"),
        ((file("2026-10", 3, 10, "/etc/lead_created-2026-10-0123abcd.parquet"),), "is no manifest"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(tmp_path: Path, files: tuple[ArchivedFile, ...], match: str) -> None:
    """Gaps, overlaps, and files that lie elsewhere."""
    (tmp_path / MANIFEST).write_bytes(msgspec.json.encode(Manifest(IDENTITY, files)))
    with pytest.raises(ArchiveDamagedError, match=match):
        load_manifest(tmp_path)


@pytest.mark.parametrize(("begin", "end", "fits"), [(3, 25, True), (5, 12, True), (2, 25, False), (3, 26, False)])
def test_what_is_needed_must_be_there_whole(begin: int, end: int, *, fits: bool) -> None:
    """To the position."""
    if fits:
        WHOLE.check_reach("lead_created", 0, begin, end)
        return
    with pytest.raises(LogIncompleteError, match=f"from {begin} up to {end} is needed.* it from 3 up to 25"):
        WHOLE.check_reach("lead_created", 0, begin, end)


def test_another_partition_is_not_there() -> None:
    """Nothing is not all."""
    with pytest.raises(LogIncompleteError, match="has nothing of it"):
        WHOLE.check_reach("lead_created", 1, 0, 1)


@pytest.mark.parametrize(
    ("name", "what"), [("cluster", "another cluster"), ("topic:lead_created", "another topic lead")]
)
def test_another_log_is_told(tmp_path: Path, name: str, what: str) -> None:
    """By the id of either; a topic that Kafka does not have now is no other log."""
    WHOLE.check_identity({"cluster": "c"}, tmp_path)
    with pytest.raises(OtherLogError, match=what):
        WHOLE.check_identity({**IDENTITY, name: "x"}, tmp_path)
