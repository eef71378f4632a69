"""Jars, Kafka's first: fetched once from Maven Central through jgo, and used only where each has its pinned SHA-256."""

import hashlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from salesfx.local.errors import LocalServerError, missing_extra
from salesfx.local.file_lock import FileLock

KAFKA_VERSION = "4.4.0"
_PARALLEL = 6
_TIMEOUT = 20  # seconds without a byte


@dataclass(frozen=True)
class Jar:
    """One pinned file. `coordinate` is group:artifact:version, `size` in bytes, `sha256` in hex."""

    coordinate: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's name."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"

    def matches(self, path: Path) -> bool:
        """Return whether the file is there and is, byte for byte, the pinned one."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256


@dataclass(frozen=True)
class JarSet:
    """Jars that are fetched together.

    `name` and `version` say what they are: to the user, and in the cache. `instead` ends the sentence about a fetch that
    failed with what else the user could do.
    """

    name: str
    version: str
    jars: list[Jar]
    instead: str = ""

    @property
    def folder(self) -> Path:
        """Where they are kept."""
        return cache_folder() / f"{self.name.lower().replace(' ', '-')}-{self.version}"


def pinned_jars() -> list[Jar]:
    """Return what Kafka needs to run, as listed in kafka_jars.txt (made by `python -m salesfx.local.pin`)."""
    return read_pins(resources.files("salesfx.local").joinpath("kafka_jars.txt").read_text(encoding="utf-8"))


def read_pins(text: str) -> list[Jar]:
    """Return the jars of a list: in each line a coordinate, bytes and SHA-256."""
    rows = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return [Jar(coordinate, int(size), sha256) for coordinate, size, sha256 in rows]


def cache_folder() -> Path:
    """Return the user's cache folder for salesfx: $XDG_CACHE_HOME/salesfx, else the system's usual place."""
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base, "salesfx")
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "salesfx"


def kafka_classpath(progress: Callable[[str], None]) -> str:
    """Return Kafka's class path; see `classpath`."""
    instead = "; or set SALESFX_KAFKA to the address of a Kafka of your own"
    return classpath(JarSet("Kafka", KAFKA_VERSION, pinned_jars(), instead), progress)


def classpath(jar_set: JarSet, progress: Callable[[str], None]) -> str:
    """Return a class path of some jars, after fetching those that are not in the cache.

    Every jar is checked against its pinned SHA-256 each time. Two processes may ask at once: one fetches, the other
    waits. Raises LocalServerError where a jar cannot be fetched, or is not the pinned one.
    """
    folder = jar_set.folder
    try:
        if _missing(jar_set.jars, folder):
            _fetch_locked(jar_set, progress)
    except OSError as error:
        raise LocalServerError(f"{jar_set.name}'s jars could not be kept in {folder}: {error}") from error
    return os.pathsep.join(str(folder / jar.name) for jar in jar_set.jars)


def _missing(jars: list[Jar], folder: Path) -> list[Jar]:
    with ThreadPoolExecutor() as pool:
        good = pool.map(lambda jar: jar.matches(folder / jar.name), jars)
        return [jar for jar, is_good in zip(jars, good, strict=True) if not is_good]


def _fetch_locked(jar_set: JarSet, progress: Callable[[str], None]) -> None:
    folder = jar_set.folder
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    if not lock.acquire(wait=False):
        progress(f"waiting for another process that fetches {jar_set.name}")
        lock.acquire(wait=True)
    try:
        missing = _missing(jar_set.jars, folder)  # the other one may have brought them
        if missing:
            _fetch(replace(jar_set, jars=missing), progress)
    finally:
        lock.release()


def _fetch(jar_set: JarSet, progress: Callable[[str], None]) -> None:
    folder = jar_set.folder
    counter = _Counter(jar_set, progress)
    # Beside the final place: moved there, one by one, only when checked.
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=folder) as staging:
        download = _downloader(jar_set, Path(staging), counter)

        def fetch_one(jar: Jar) -> None:
            _check(jar, fetched := download(jar))
            fetched.replace(folder / jar.name)

        pool = ThreadPoolExecutor(_PARALLEL)
        try:
            for _ in pool.map(fetch_one, jar_set.jars):
                pass
        finally:
            pool.shutdown(cancel_futures=True)
    counter.finish()


def _check(jar: Jar, path: Path) -> None:
    if jar.matches(path):
        return
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    raise LocalServerError(
        f"{jar.name}, fetched from Maven Central, is not the file salesfx was tested with: its SHA-256 is {got}, "
        f"expected {jar.sha256}. It was not kept. Something between this machine and Maven Central changed it, or the "
        "download broke off: try again, and where it stays, do not work around it but tell us."
    )


def _downloader(jar_set: JarSet, staging: Path, counter: "_Counter") -> Callable[[Jar], Path]:
    try:
        from jgo.config import GlobalSettings  # noqa: PLC0415  (only the extra `local` brings it)
        from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise missing_extra("jgo") from error
    # A mirror from the user's own jgo settings comes first: what it hands over is checked all the same.
    repositories = {**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
    context = MavenContext(
        resolver=PythonResolver(progress_callback=counter.downloading),
        repo_cache=staging,
        remote_repos=repositories,
        timeout=_TIMEOUT,
    )

    def download(jar: Jar) -> Path:
        group, artifact, version = jar.coordinate.split(":")
        try:
            return Path(context.project(group, artifact).at_version(version).artifact().resolve())
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
            if isinstance(error, OSError) and shutil.disk_usage(staging).free < jar.size:
                raise
            raise LocalServerError(
                f"{jar_set.name} could not be fetched from Maven Central ({jar.name}: {_first_line(error)}). It is "
                "needed once, at the first start: check the network or the proxy (HTTPS_PROXY) and try again"
                f"{jar_set.instead}."
            ) from error

    return download


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


class _Counter:
    """Adds up what the downloads got, and says so about twice a second."""

    def __init__(self, jar_set: JarSet, progress: Callable[[str], None]) -> None:
        self._what = f"{jar_set.name} {jar_set.version}"
        self._total = sum(jar.size for jar in jar_set.jars)
        self._progress = progress
        self._lock = threading.Lock()
        self._done = 0
        self._said = 0.0

    @contextmanager
    def downloading(self, _name: str, _size: int) -> Iterator[Callable[[int], None]]:
        """Give jgo what to call with the number of bytes that came."""
        yield self.add

    def add(self, count: int) -> None:
        """Count bytes; called from several threads."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._said >= 0.5:  # noqa: PLR2004
                self._said = now
                self._say()

    def finish(self) -> None:
        """Say that all of it came."""
        self._done = self._total
        self._say()

    def _say(self) -> None:
        total = _megabytes(self._total)
        self._progress(f"fetching {self._what} ({total} MB) {_megabytes(self._done)}/{total} MB")


def _megabytes(count: int) -> int:
    return round(count / 1e6)
