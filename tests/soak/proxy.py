"""A TCP proxy on the loopback that can be told to cut, slow and stall what goes through it."""

import asyncio
import contextlib
import socket
import struct

_CHUNK = 256 * 1024
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Forwards connections to a port of this machine."""

    def __init__(self, port: int, upstream: int) -> None:
        """Make one.

        Args:
            port: Where it listens.
            upstream: The port that it forwards to; may be changed, for connections made from then on.

        """
        self.port = port
        self.upstream = upstream
        self.latency = 0.0
        """Seconds by which everything is late, in both directions."""
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=_CHUNK)

    async def stop(self) -> None:
        """Listen no more, and cut what there is."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def stall(self) -> None:
        """Forward nothing, and close nothing."""
        self._flowing.clear()

    def heal(self) -> None:
        """Forward everything at once again."""
        self.latency = 0.0
        self._flowing.set()

    def cut(self) -> None:
        """Reset every connection, on both sides."""
        for writer in list(self._writers):
            _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        up: asyncio.StreamWriter | None = None
        try:
            up_reader, up = await asyncio.open_connection("127.0.0.1", self.upstream, limit=_CHUNK)
            self._writers.add(up)
            both = [asyncio.ensure_future(self._pump(reader, up)), asyncio.ensure_future(self._pump(up_reader, writer))]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        except OSError:
            _reset(writer)
        finally:
            for side in (writer, up):
                if side is not None:
                    self._writers.discard(side)
                    side.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self.latency:
                    await asyncio.sleep(self.latency)
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
