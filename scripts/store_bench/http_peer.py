"""One HTTP/1.1 connection as a proxy sees it: heads and bodies, passed on as the bytes they are."""

import asyncio
import re
import socket
import struct

BUFFER_BYTES = 1 << 20
MAX_HEAD_BYTES = 1 << 16


class Broken(Exception):
    """The connection ends here, by an accident or on purpose."""


class Peer:
    """One connection, read by lines and by blocks."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self.rest = sock, b""
        self._buffer = memoryview(bytearray(BUFFER_BYTES))

    async def some(self, limit: int) -> memoryview:
        """Up to `limit` bytes, valid until the next call; none at the end."""
        if self.rest:
            piece, self.rest = self.rest[:limit], self.rest[limit:]
            return memoryview(piece)
        room = self._buffer[: min(limit, BUFFER_BYTES)]
        return room[: await asyncio.get_running_loop().sock_recv_into(self.sock, room)]

    async def until(self, mark: bytes) -> bytes:
        """Everything up to and with `mark`; "" if the peer closed."""
        data = b""
        while mark not in data:
            piece = bytes(await self.some(MAX_HEAD_BYTES))
            data += piece
            if not piece or len(data) > MAX_HEAD_BYTES:
                return b""
        end = data.index(mark) + len(mark)
        data, self.rest = data[:end], data[end:] + self.rest
        return data

    async def send(self, data: bytes | memoryview) -> None:
        """All of it."""
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    def reset(self) -> None:
        """Close with a reset in place of an orderly end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def body_length(head: bytes) -> int:
    """Bytes of the body that follow this head, 0 if it names none."""
    found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return int(found[1]) if found else 0


async def read_chunked(server: Peer) -> bytes:
    """A whole body that is sent in chunks; such are lists and error documents, no shards."""
    data = b""
    while True:
        line = await server.until(b"\r\n")
        if not line:
            raise Broken
        data += line
        left = int(line.split(b";")[0], 16) + 2
        last = left == 2
        while left:
            piece = bytes(await server.some(left))
            if not piece:
                raise Broken
            data, left = data + piece, left - len(piece)
        if last:
            return data
