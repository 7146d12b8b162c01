"""Run a proxy that adds latency, limits the bandwidth and injects faults, to test how an HTTP client handles them.

    python scripts/unreliable_link.py --to 127.0.0.1:9000 --latency-ms 50
    python scripts/unreliable_link.py --to 127.0.0.1:9000 --bandwidth 50MB
    python scripts/unreliable_link.py --to 127.0.0.1:9000 --fault-rate 0.05 --faults 500,reset,truncate --seed 1
    python scripts/unreliable_link.py --to 127.0.0.1:9000 --fault-rate 1 --faults 503 --first 3 --only /shards/

The first line it prints is its own address; `curl ADDRESS/_link` shows its counts of requests, body bytes and faults as
JSON. Requests are passed on unchanged, the Host header too, so that their signatures stay valid.
"""

import argparse
import asyncio
import json
import random
import re
import socket
import sys
from dataclasses import asdict, dataclass, field

from store_bench.http_peer import BUFFER_BYTES, Broken, Peer, body_length, read_chunked

FAULTS = {
    "500": "status 500, S3's InternalError",
    "503": "status 503, S3's SlowDown, with Retry-After",
    "429": "status 429 with Retry-After",
    "403": "status 403, S3's ExpiredToken",
    "refuse": "the connection is reset before an answer",
    "reset": "the connection is reset in the middle of the body",
    "truncate": "the connection is closed in the middle of the body",
    "shorten": "body and Content-Length are cut to half",
    "stall": "the body stops in the middle for --stall-s, then the connection closes",
    "corrupt": "one byte in the middle of the body is changed",
}
STATUS_FAULTS = {
    "500": ("500 Internal Server Error", "InternalError"),
    "503": ("503 Slow Down", "SlowDown"),
    "429": ("429 Too Many Requests", "TooManyRequests"),
    "403": ("403 Forbidden", "ExpiredToken"),
}
CONTROL_PATH = "/_link"


@dataclass(frozen=True, kw_only=True)
class Link:
    """The settings of a link.

    Attributes:
        to: Host and port of the server.
        latency_s: Delay before each request is passed on, seconds.
        bandwidth: Bytes a second of all bodies together; 0 for no limit.
        fault_rate: Probability of a fault, for each request.
        faults: Names of `FAULTS` to draw from, all equally likely.
        first: Largest number of requests that get a fault; 0 for any number.
        only: Only requests whose request line contains this get a fault.
        seed: Of the random draws.
        stall_s: Length of a stall, seconds.
        retry_after: Value of the Retry-After header.
    """

    to: tuple[str, int]
    latency_s: float = 0.0
    bandwidth: float = 0.0
    fault_rate: float = 0.0
    faults: tuple[str, ...] = ("500",)
    first: int = 0
    only: str = ""
    seed: int = 0
    stall_s: float = 60.0
    retry_after: str = "1"


@dataclass
class LinkCounts:
    """Totals of a link since its start."""

    requests: int = 0
    body_bytes: int = 0
    faults: dict[str, int] = field(default_factory=dict)


class Proxy:
    """A proxy that passes on the requests of many connections and injects faults into some."""

    def __init__(self, link: Link) -> None:
        self._link, self.counts = link, LinkCounts()
        self._random, self._faulted = random.Random(link.seed), 0
        self._free_at = 0.0  # when the link is free again, on the loop's clock

    async def serve(self, client_sock: socket.socket) -> None:
        """Serve one connection of a client, by one connection to the server."""
        client, server = Peer(client_sock), None
        try:
            while head := await client.until(b"\r\n\r\n"):
                if head.split(b" ", 2)[1].decode().startswith(CONTROL_PATH):
                    await self._send_counts(client)
                    continue
                server = server or Peer(await self._connect())
                await self._exchange(client, server, head)
        except (Broken, OSError):
            pass
        finally:
            client.sock.close()
            if server:
                server.sock.close()

    async def _connect(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self._link.to)
        except OSError:
            sock.close()
            raise
        return sock

    async def _send_counts(self, client: Peer) -> None:
        body = json.dumps(asdict(self.counts)).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        await client.send(head.encode() + body)

    async def _exchange(self, client: Peer, server: Peer, head: bytes) -> None:
        """Pass on one request and its response, or inject a fault before the server sees the request."""
        self.counts.requests += 1
        fault = self._draw(head)
        await asyncio.sleep(self._link.latency_s)
        if fault in STATUS_FAULTS:
            # The request's body is read all the same: the connection stays open, and the next head follows it.
            await self._skip(client, body_length(head))
            self._count(fault)
            return await self._refuse(client, fault, head.startswith(b"HEAD"))
        if fault == "refuse":
            self._count(fault)
            client.reset()
            raise Broken
        await server.send(head)
        await self._relay(client, server, body_length(head))
        answer = await server.until(b"\r\n\r\n")
        if not answer:
            raise Broken
        await self._answer(client, server, answer, fault, bodiless=head.startswith(b"HEAD"))

    def _draw(self, head: bytes) -> str:
        """Draw the fault of this request; "" for none."""
        link = self._link
        # The draws come before --only and --first are applied: other filters leave the random stream as it is.
        drawn = self._random.random() < link.fault_rate and self._random.choice(link.faults)
        wanted = link.only.encode() in head.split(b"\r\n", 1)[0] and not (link.first and self._faulted >= link.first)
        if not (drawn and wanted):
            return ""
        self._faulted += 1
        return drawn

    def _count(self, fault: str) -> None:
        self.counts.faults[fault] = self.counts.faults.get(fault, 0) + 1

    async def _refuse(self, client: Peer, fault: str, bodiless: bool) -> None:
        status, code = STATUS_FAULTS[fault]
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>by unreliable_link</Message></Error>".encode()
        wait = f"Retry-After: {self._link.retry_after}\r\n" if fault in ("503", "429") else ""
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\n{wait}Content-Length: {len(body)}\r\n\r\n"
        await client.send(head.encode() + (b"" if bodiless else body))

    async def _answer(self, client: Peer, server: Peer, answer: bytes, fault: str, bodiless: bool) -> None:
        """Pass on a response, with a fault in its body if one was drawn and there is a body."""
        bodiless = bodiless or answer.split(b" ", 2)[1] in (b"204", b"304")  # RFC 9112, 6.3
        length, chunked = body_length(answer), re.search(rb"\r\ntransfer-encoding: *chunked", answer, re.IGNORECASE)
        # A body fault that was drawn for a response without a body, or with a chunked one, is dropped and not counted.
        if bodiless:
            return await client.send(answer)
        if chunked:
            return await client.send(answer + await read_chunked(server))
        if not fault or not length:
            await client.send(answer)
            return await self._relay(server, client, length)
        self._count(fault)
        if fault == "shorten":
            answer = re.sub(rb"(?i)(\r\ncontent-length: *)\d+", rb"\g<1>%d" % (length // 2), answer)
        await client.send(answer)
        await self._relay(server, client, length // 2)
        await self._inject(client, server, fault, length - length // 2)

    async def _inject(self, client: Peer, server: Peer, fault: str, left: int) -> None:
        """Inject a fault in the middle of a body of which `left` bytes have not been passed on."""
        if fault == "corrupt":
            byte = bytes(await server.some(1))
            await client.send(bytes([byte[0] ^ 0x55]) if byte else b"")
            return await self._relay(server, client, left - 1)
        if fault == "shorten":
            return await self._skip(server, left)  # the client has all that the header announced: the link stays open
        if fault == "stall":
            await asyncio.sleep(self._link.stall_s)
        if fault == "reset":
            await asyncio.sleep(0.01)  # a reset discards unsent data: let the first half arrive
            client.reset()
        raise Broken

    async def _relay(self, source: Peer, target: Peer, length: int) -> None:
        """Pass on `length` bytes of a body."""
        while length > 0:
            piece = await source.some(min(length, self._piece_bytes()))
            if not piece:
                raise Broken
            await self._pace(len(piece))
            await target.send(piece)
            length -= len(piece)
            self.counts.body_bytes += len(piece)

    def _piece_bytes(self) -> int:
        """Return the most bytes to pass on at once: a fiftieth of a second's, so that a narrow link flows smoothly."""
        return max(4096, min(BUFFER_BYTES, int(self._link.bandwidth / 50))) if self._link.bandwidth else BUFFER_BYTES

    async def _pace(self, num_bytes: int) -> None:
        """Wait until this piece would be through the link, which all connections share."""
        if self._link.bandwidth:
            now = asyncio.get_running_loop().time()
            # Each piece is queued after all earlier ones of any connection; unused time is not saved up.
            self._free_at = max(now, self._free_at) + num_bytes / self._link.bandwidth
            await asyncio.sleep(self._free_at - now)

    async def _skip(self, peer: Peer, length: int) -> None:
        while length > 0:
            piece = await peer.some(length)
            if not piece:
                raise Broken
            length -= len(piece)


async def run(link: Link, port: int) -> None:
    """Serve on a port of loopback, 0 for a free one, until the process ends."""
    proxy, running = Proxy(link), set()  # the event loop refers to tasks only weakly
    with socket.create_server(("127.0.0.1", port), backlog=256) as listener:
        listener.setblocking(False)
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            client, _ = await asyncio.get_running_loop().sock_accept(listener)
            task = asyncio.create_task(proxy.serve(client))
            running.add(task)
            task.add_done_callback(running.discard)


def _bytes(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(k|M|G)?B?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected bytes a second such as 50MB, found {text!r}")
    return float(found[1]) * {"k": 1e3, "M": 1e6, "G": 1e9, None: 1.0}[found[2]]


def _faults(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in FAULTS]:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(FAULTS)}, found {unknown[0]!r}")
    return names


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.removeprefix("http://").rstrip("/").rpartition(":")
    if not (host and port.isdigit()):
        raise argparse.ArgumentTypeError(f"expected HOST:PORT, found {text!r}")
    return host, int(port)


def main(arguments: list[str] | None = None) -> int:
    """Parse the options, serve, and return the exit status."""
    listed = "faults:\n" + "\n".join(f"  {name:9} {text}" for name, text in FAULTS.items())
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=listed, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=_address, required=True, metavar="HOST:PORT", help="address of the server")
    parser.add_argument("--port", type=int, default=0, help="port of loopback to listen on (default: a free one)")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="delay added to each request")
    parser.add_argument(
        "--bandwidth", type=_bytes, default=0.0, help="limit of all bodies together, a second, such as 50MB"
    )
    parser.add_argument("--fault-rate", type=float, default=0.0, help="probability of a fault, for each request")
    parser.add_argument(
        "--faults", type=_faults, default=("500",), help="faults to inject, separated by commas (default 500)"
    )
    parser.add_argument(
        "--first", type=int, default=0, help="largest number of requests that get a fault (default: no limit)"
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="fault only requests whose request line contains this"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random draws (default 0)")
    parser.add_argument("--stall-s", type=float, default=60.0, help="seconds of a stall (default 60)")
    parser.add_argument("--retry-after", default="1", help="value of the Retry-After header (default 1)")
    options = vars(parser.parse_args(arguments))
    port, latency_ms = options.pop("port"), options.pop("latency_ms")
    try:
        asyncio.run(run(Link(latency_s=latency_ms / 1000, **options), port))
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
