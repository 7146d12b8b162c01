"""An S3 server on loopback and the link in front of it, each in a process of its own."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sharding.errors import DataError, UsageError

LINK = Path(__file__).parents[1] / "unreliable_link.py"
START_S = 30.0


@contextmanager
def s3_server(root: Path) -> Iterator[int]:
    """Run `localbucket` over `root`, whose folders are the buckets, and yield its port.

    Raises:
        UsageError: It is not installed.
        DataError: It did not start in time.
    """
    port = free_port()
    program = Path(sys.executable).with_name("localbucket")
    if not program.exists():
        raise UsageError("needs the S3 server localbucket: pip install localbucket")
    with _running([str(program), "--port", str(port), str(root)], port):
        yield port


@contextmanager
def link(server: int, port: int, *options: str) -> Iterator["RunningLink"]:
    """Run `unreliable_link.py` with `options` on `port`, in front of the server.

    Raises:
        DataError: It did not start in time.
    """
    command = [sys.executable, str(LINK), "--to", f"127.0.0.1:{server}", "--port", str(port), *options]
    with _running(command, port):
        yield RunningLink(port)


class RunningLink:
    """A running link, which can be asked for its counts.

    Args:
        port: Where it listens on loopback.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    def counts(self) -> dict[str, Any]:
        """Return `requests`, `body_bytes` and `faults` (by name) since it was started."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/_link", timeout=10) as answer:
            counts: dict[str, Any] = json.load(answer)
            return counts


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.socket() as free:
        # Released again below: another program could take the port before the server does.
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def use_endpoint(port: int) -> None:
    """Set the environment of this process, and of those it starts from now on, to find S3 at a port of loopback."""
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "loopback",
        "AWS_SECRET_ACCESS_KEY": "loopback",
        "AWS_REGION": "us-east-1",
    }


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_port(process, port)
        yield
    finally:
        process.kill()
        process.wait(10)


def _await_port(process: "subprocess.Popen[bytes]", port: int) -> None:
    until = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < until:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
    raise DataError(f"expected a server on port {port} of loopback within {START_S:g} s, found none; run again")
