"""The archive as a part of the log: the pieces that Kafka does not have any more."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from salesfx.event_log.archive.manifest import ArchivedFile, damaged, load_manifest
from salesfx.event_log.piece import Piece, Range

if TYPE_CHECKING:
    from salesfx.event_log.archive.parquet import OpenFile

_AT_ONCE = 4000


class Archive:
    """An archive that is read. It may be written to meanwhile: its manifest is read again where a file was replaced."""

    def __init__(self, folder: Path) -> None:
        """Read its manifest.

        Raises:
            NoArchiveError: There is none.
            ArchiveDamagedError: It cannot be read.

        """
        self.folder = folder
        self.manifest = load_manifest(folder)
        self._known: set[str] = set()
        """Files whose hash was compared."""

    def check_identity(self, found: Mapping[str, str]) -> None:
        """Compare its log with that of Kafka; see `Manifest.check_identity`."""
        self.manifest.check_identity(found, self.folder)

    def check_files(self, needed: Range) -> None:
        """See to it that what is needed can be read, before long work begins; the hash is compared when it is read.

        Raises:
            NeedsAttentionError: The extra that reads the files is not installed.
            ArchiveDamagedError: A file is missing, or has another size.

        """
        import salesfx.event_log.archive.parquet  # noqa: F401, PLC0415 - an extra

        for file, covered in self.manifest.of(needed.topic, needed.partition):
            if covered.begin < needed.end and needed.begin < covered.end:
                self._check_file(file)

    def _check_file(self, file: ArchivedFile) -> None:
        path = self.folder / file.name
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            self.replacement(file)
            return
        if size != file.bytes:
            raise damaged(path, f"it has {size} bytes; the manifest says {file.bytes}")

    def replacement(self, file: ArchivedFile) -> ArchivedFile:
        """Give the file that has taken the place of one that is not there, as the manifest says by now.

        Raises:
            ArchiveDamagedError: None has.

        """
        self.manifest = load_manifest(self.folder)
        new = self.manifest.file(file.topic, file.month)
        if new is None or new == file:
            raise damaged(self.folder / file.name, "it is not there")
        return new

    async def read(self, wanted: Range) -> AsyncIterator[Piece]:
        """Give what there is of a range, from its beginning on, without a gap.

        Raises:
            ArchiveDamagedError: A file is not what was written.

        """
        position = wanted.begin
        while position < wanted.end and (file := self._file_at(wanted, position)):
            async for piece in self._read_file(file, wanted, position):
                yield piece
                position = piece.after

    def _file_at(self, wanted: Range, position: int) -> ArchivedFile | None:
        files = self.manifest.of(wanted.topic, wanted.partition)
        return next((file for file, covered in files if covered.begin <= position < covered.end), None)

    async def _read_file(self, file: ArchivedFile, wanted: Range, position: int) -> AsyncIterator[Piece]:
        from salesfx.event_log.archive.parquet import records_of  # noqa: PLC0415 - an extra

        covered = file.covered(wanted.partition)
        try:
            opened = await asyncio.to_thread(self._open, file)
        except FileNotFoundError:
            self.replacement(file)
            return
        end = min(covered.end if covered else position, wanted.end)
        with opened:
            tables = opened.tables(wanted.partition, position)
            while (table := await asyncio.to_thread(next, tables, None)) is not None:
                for start in range(0, table.num_rows, _AT_ONCE):
                    records = await asyncio.to_thread(records_of, file.topic, table.slice(start, _AT_ONCE))
                    wanted_ones = [record for record in records if position <= record.offset < end]
                    if wanted_ones:
                        after = wanted_ones[-1].offset + 1
                        yield Piece(wanted, position, after, wanted_ones)
                        position = after
        if position < end:
            yield Piece(wanted, position, end, [])

    def _open(self, file: ArchivedFile) -> "OpenFile":
        from salesfx.event_log.archive.parquet import OpenFile  # noqa: PLC0415 - an extra

        opened = OpenFile(self.folder, file, known=file.name in self._known)
        self._known.add(file.name)
        return opened


def folder_of(named: str | Path) -> Path:
    """Give the folder that a setting or an option names, `~` being the user's own."""
    return Path(named).expanduser().absolute()


def archive_of(folder: str | None, found: Mapping[str, str]) -> Archive | None:
    """Open the archive that the settings name; None where they name none.

    Args:
        folder: The setting.
        found: The identity of Kafka's log.

    Raises:
        NoArchiveError: There is none in the folder.
        ArchiveDamagedError: Its manifest cannot be read.
        OtherLogError: It is of another log.

    """
    if folder is None:
        return None
    archive = Archive(folder_of(folder))
    archive.check_identity(found)
    return archive
