"""One HTTP/1.1 connection as a proxy sees it (RFC 9112): heads and bodies, passed on as the same bytes."""

import asyncio
import re
import socket
import struct

BUFFER_BYTES = 1 << 20
MAX_HEAD_BYTES = 1 << 16


class Broken(Exception):
    """The connection ends here, because of an error or as an injected fault."""


class Peer:
    """One connection, read up to a mark or by blocks.

    Attributes:
        sock: The socket, not blocking.
        rest: Bytes that were received after the last mark and not consumed yet.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self.rest = sock, b""
        self._buffer = memoryview(bytearray(BUFFER_BYTES))

    async def some(self, limit: int) -> memoryview:
        """Receive up to `limit` bytes, which are valid until the next call; none at the end of the connection."""
        if self.rest:
            piece, self.rest = self.rest[:limit], self.rest[limit:]
            return memoryview(piece)
        room = self._buffer[: min(limit, BUFFER_BYTES)]
        return room[: await asyncio.get_running_loop().sock_recv_into(self.sock, room)]

    async def until(self, mark: bytes) -> bytes:
        """Receive everything up to and including `mark`; b"" if the peer closed, or sent too much without one."""
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
        """Send all of `data`."""
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    def reset(self) -> None:
        """Close with a TCP reset instead of an orderly end."""
        # struct linger {on, seconds}: closing with a linger time of 0 sends RST (socket(7)).
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def body_length(head: bytes) -> int:
    """Return the Content-Length of a head, 0 if it has none."""
    found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return int(found[1]) if found else 0


async def read_chunked(server: Peer) -> bytes:
    """Receive a whole chunked body, framing included (RFC 9112, 7.1): lists and error documents, never shards.

    Raises:
        Broken: The connection closed before its end.
    """
    data = b""
    while True:
        line = await server.until(b"\r\n")
        if not line:
            raise Broken
        data += line
        left = int(line.split(b";")[0], 16) + 2  # the chunk and its CRLF; after ";" are extensions
        last = left == 2  # a chunk of size 0 ends the body
        while left:
            piece = bytes(await server.some(left))
            if not piece:
                raise Broken
            data, left = data + piece, left - len(piece)
        if last:
            return data
