"""A web server on loopback, in a process of its own, for an archive that is generated while it is read."""

import multiprocessing
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any

from making_bench.virtual_archive import VirtualArchive

_START_S = 60  # a spawned process imports everything again


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running server.

    Attributes:
        url: Of the archive.
        position: Returns the offset in the archive just after the bytes that were sent last. A read of the end moves it
            there only until the next read.
    """

    url: str
    position: Callable[[], int]


@contextmanager
def serve(archive: VirtualArchive, name: str) -> Iterator[Served]:
    """Serve `archive` under `name` as long as the context lasts.

    Supports single ranges (`bytes=N-`, `bytes=N-M`; RFC 9110, 14.2) and sends the size and an ETag.

    Raises:
        TimeoutError: The server did not start in time.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    sent = context.Value("Q", 0)  # uint64 in shared memory
    process = context.Process(target=_run, args=(archive, theirs, sent), daemon=True)
    process.start()
    try:
        if not ours.poll(_START_S):
            raise TimeoutError(f"the server of {name}: expected it to start within {_START_S} s")
        yield Served(url=f"http://127.0.0.1:{ours.recv()}/{name}", position=lambda: int(sent.value))
    finally:
        process.terminate()
        process.join()


def _run(archive: VirtualArchive, parent: Connection, sent: Any) -> None:
    handler = type("Handler", (_Handler,), {"archive": archive, "sent": sent})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        parent.send(server.server_address[1])
        server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    archive: VirtualArchive
    sent: Any

    def do_GET(self) -> None:
        size = self.archive.size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        # Both ends of a range header are inclusive; `stop` is one past the last byte.
        start, stop = (int(asked[1]), min(int(asked[2] or size - 1) + 1, size)) if asked else (0, size)
        if start >= stop:
            return self.send_error(416)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", f'"{self.archive.crc32:08x}-{size}"')
        self.end_headers()
        return self._send(start, stop)

    def _send(self, start: int, stop: int) -> None:
        try:
            for part in self.archive.read(start, stop):
                start += len(part)
                self.sent.value = start  # before the write: a reader that has the bytes may ask at once
                self.wfile.write(part)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the reader closed the connection early

    def log_message(self, format: str, *arguments: Any) -> None:
        pass
