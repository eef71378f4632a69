"""Loopback ports: chosen once, kept in the data folder, moved only where somebody else took them."""

import contextlib
import json
import os
import random
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from salesfx.local.errors import LocalServerError
from salesfx.local.folder import write_private

# Below the ranges from which Linux and macOS take the ports of outgoing connections: a client that retries a port of
# that range while the server is down can get connected to itself, and then holds the port.
_RANGE = range(20000, 32000)
_TRIES = 200
_PART = 200
"""Ports that a process looks at first: two that start servers in the same seconds would else take one port now and then."""


def kept_ports(file: Path, names: Iterable[str], *, moved: Callable[[str], None]) -> dict[str, int]:
    """Return a free port for each name: the one kept in `file` where it is still free, else a new one.

    `moved` gets a line for each kept port that was taken. Raises LocalServerError where no port is free.
    """
    kept = _read(file)
    ports = dict(kept)
    for name in names:
        port = kept.get(name)
        if port is not None and is_free(port):
            continue
        ports[name] = _choose(ports.values())
        if port is not None:
            moved(f"port {port} is taken by another program: {name} moves to {ports[name]}")
    if ports != kept:
        write_private(file, json.dumps(ports, indent=1) + "\n")
    return ports


def is_free(port: int) -> bool:
    """Return whether a server could listen on this port of 127.0.0.1 now."""
    with contextlib.closing(socket.socket()) as trial:
        # As the servers do: a port whose last connections linger (TIME_WAIT) is free.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
            trial.listen(1)
        except OSError:
            return False
    return True


def _choose(used: Iterable[int]) -> int:
    for port in _candidates():
        if port not in used and is_free(port):
            return port
    raise LocalServerError(f"No free port between {_RANGE.start} and {_RANGE.stop - 1} on 127.0.0.1")


def _candidates() -> Iterator[int]:
    chance = random.SystemRandom()
    begin = _RANGE.start + os.getpid() % (len(_RANGE) // _PART) * _PART
    yield from chance.sample(range(begin, begin + _PART), _PART)
    yield from chance.sample(_RANGE, _TRIES)


def _read(file: Path) -> dict[str, int]:
    try:
        ports = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(ports, dict):
        return {}
    return {name: port for name, port in ports.items() if isinstance(port, int) and 0 < port < 2**16}
