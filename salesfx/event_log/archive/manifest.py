"""What an archive holds: which log, which files, and exactly which positions of each partition."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from salesfx.durable import sync_folder
from salesfx.errors import NeedsAttentionError
from salesfx.event_log.piece import LogIncompleteError
from salesfx.kafka_log import CLUSTER, OtherLogError
from salesfx.local.folder import write_private
from salesfx.tables.layout import partition_field

MANIFEST = "manifest.json"
_NAME = r"^[a-z_]+-[0-9]{4}-[0-9]{2}-[0-9a-f]{8}\.parquet\Z"

Position = Annotated[int, Meta(ge=0)]


class ArchiveDamagedError(NeedsAttentionError):
    """A file of the archive is missing, or is not what was written."""


def damaged(path: Path, why: str) -> ArchiveDamagedError:
    """Say that a file is damaged, and what to do."""
    return ArchiveDamagedError(
        f"the archive's file {path} is damaged: {why}. Put it back from a copy; where Kafka still has all of the log, "
        "`salesfx archive` with --to an empty folder makes a new archive."
    )


class NoArchiveError(NeedsAttentionError):
    """There is no archive in the folder."""


class Covered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file has of one partition: everything committed from one position up to another."""

    partition: Position
    begin: Position
    end: Position
    """The first position that it does not have."""
    rows: Position


class ArchivedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file: a topic's records of one month."""

    name: Annotated[str, Meta(pattern=_NAME)]
    topic: str
    """Without the prefix that it has in Kafka."""
    month: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}\Z")]
    """Like 2026-10, in UTC, by the timestamps of Kafka."""
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    bytes: Position
    rows: Position
    partitions: tuple[Covered, ...]

    def covered(self, partition: int) -> Covered | None:
        """Give what it has of a partition."""
        return next((each for each in self.partitions if each.partition == partition), None)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole archive. What no manifest names is no part of it."""

    identity: dict[str, str]
    """The ids of the cluster and the topics, as `KafkaLog.identity` gives them."""
    files: tuple[ArchivedFile, ...] = ()
    """In the order of their months."""
    written_at: datetime | None = None
    """When a record was last added."""
    begins: dict[str, Position] = {}
    """From where each partition is archived, also one that has had no record yet, by the field of its stored offset."""
    version: Literal[1] = 1

    def of(self, topic: str, partition: int) -> Iterator[tuple[ArchivedFile, Covered]]:
        """Give the files that have something of a partition, in the order of its positions."""
        for file in self.files:
            covered = file.covered(partition) if file.topic == topic else None
            if covered is not None:
                yield file, covered

    def span(self, topic: str, partition: int) -> tuple[int, int] | None:
        """Tell from where up to where it has a partition; None where it has not been begun."""
        parts = [covered for _, covered in self.of(topic, partition)]
        if parts:
            return parts[0].begin, parts[-1].end
        begin = self.begins.get(partition_field(topic, partition))
        return None if begin is None else (begin, begin)

    def partitions(self) -> list[tuple[str, int]]:
        """Name the partitions that it has, in order."""
        return sorted({(file.topic, each.partition) for file in self.files for each in file.partitions})

    def file(self, topic: str, month: str) -> ArchivedFile | None:
        """Give the file of a topic and month."""
        return next((file for file in self.files if (file.topic, file.month) == (topic, month)), None)

    def with_file(self, new: ArchivedFile, written_at: datetime) -> "Manifest":
        """Give one with a file more, or in another's place."""
        others = [file for file in self.files if (file.topic, file.month) != (new.topic, new.month)]
        files = tuple(sorted([*others, new], key=lambda file: (file.month, file.topic)))
        return msgspec.structs.replace(self, files=files, written_at=written_at)

    def check_identity(self, found: Mapping[str, str], folder: Path) -> None:
        """Compare the log that it was made from with the one that Kafka has.

        Raises:
            OtherLogError: They differ.

        """
        for name, identity in self.identity.items():
            if name in found and found[name] != identity:
                what = "cluster" if name == CLUSTER else name.replace(":", " ")
                raise OtherLogError(
                    f"the archive in {folder} is of another {what} (id {identity}; Kafka has {found[name]}): its positions "
                    "mean nothing in this log. Name the archive of this log (`archive`, SALESFX_ARCHIVE, or --to), or an "
                    "empty folder for a new one."
                )

    def check_reach(self, topic: str, partition: int, begin: int, end: int) -> None:
        """See to it that all of a stretch is there.

        Raises:
            LogIncompleteError: It is not.

        """
        held = self.span(topic, partition)
        if held is None or held[0] > begin or held[1] < end:
            has = "nothing of it" if held is None else f"it from {held[0]} up to {held[1]}"
            raise LogIncompleteError(
                f"of {topic}[{partition}] all from {begin} up to {end} is needed, Kafka does not have it any more, and the "
                f"archive has {has}: the events between are in neither. Put a fuller archive in its place."
            )


def load_manifest(folder: Path) -> Manifest:
    """Read an archive's manifest.

    Raises:
        NoArchiveError: There is none.
        ArchiveDamagedError: It cannot be read, or contradicts itself.

    """
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise NoArchiveError(
            f"there is no archive in {folder} (no {MANIFEST}): `salesfx archive --to {folder}` makes one"
        ) from error
    except OSError as error:
        raise ArchiveDamagedError(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:  # a ValidationError is one too
        raise ArchiveDamagedError(f"{path} is no manifest: {error}. Put it back from a copy.") from error
    if found := _contradiction(manifest):
        raise ArchiveDamagedError(f"{path} contradicts itself: {found}. Put it back from a copy.")
    return manifest


def _contradiction(manifest: Manifest) -> str | None:
    """Name a gap or an overlap between two files, in words."""
    for topic, partition in manifest.partitions():
        for (before, earlier), (after, later) in pairwise(manifest.of(topic, partition)):
            if earlier.end != later.begin:
                has = f"{before.name} has {topic}[{partition}] up to {earlier.end}"
                return f"{has}, and {after.name} from {later.begin} on"
    return None


def store_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest whole; when this returns it stays through a power cut, and so do the files that it names."""
    if found := _contradiction(manifest):
        raise AssertionError(f"the archive in {folder} would contradict itself, and is left as it was: {found}")
    sync_folder(folder)
    write_private(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1).decode() + "\n")
    sync_folder(folder)
