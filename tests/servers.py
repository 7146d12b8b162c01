"""Real servers on loopback, each in a process of its own, and a link to them that can be made slow or unreliable."""

import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
ACCESS_KEY, SECRET = "AKIALOOPBACKTEST", "secret-of-the-loopback-test"


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_until_open(port, process):
    for _ in range(300):
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.05)
    raise AssertionError("the server did not start")


@dataclass
class Server:
    """A server that can be killed and started again."""

    command: list
    port: int
    environment: dict
    process: subprocess.Popen | None = None

    def start(self):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(self.command, env=os.environ | self.environment, **quiet)
        wait_until_open(self.port, self.process)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


@contextmanager
def running(command, port, environment=None):
    server = Server(command, port, environment or {})
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def localbucket(root):
    """An S3 server over `root`; it checks no signatures."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("localbucket")), "--port", str(port), str(root)]
    with running(command, port) as server:
        yield server


@contextmanager
def nanio(root):
    """An S3 server over `root` that checks signatures."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("nanio")), "serve", "--data-dir", str(root)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with running(command, port, {"NANIO_ACCESS_KEY": ACCESS_KEY, "NANIO_SECRET_KEY": SECRET}) as server:
        yield server


class Link:
    """A running `scripts/unreliable_link.py`."""

    def __init__(self, url):
        self.url = url

    @property
    def counts(self):
        with urllib.request.urlopen(f"{self.url}/_link", timeout=10) as answer:
            return json.load(answer)


@contextmanager
def link(port, *options):
    """A link to a server's port."""
    command = [sys.executable, str(ROOT / "scripts" / "unreliable_link.py"), "--to", f"127.0.0.1:{port}"]
    process = subprocess.Popen([*command, *map(str, options)], stdout=subprocess.PIPE, text=True)
    try:
        yield Link(process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def s3_variables(url, secret=SECRET):
    """The environment that leads to an S3 server on loopback."""
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
    }


@contextmanager
def web_server(respond):
    """A web server that answers each GET, HEAD and PUT by `respond(handler)`; `.seen` holds their headers and path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.server.seen.append(dict(self.headers.items()) | {"path": self.path})
            respond(self)

        do_PUT = do_HEAD = do_GET

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.seen, server.url = [], f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def answer(handler, status, body=b"", **headers):
    with suppress(OSError):  # who asked may have gone
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body if handler.command != "HEAD" else b"")


def answer_range(handler, data, **headers):
    first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers["range"]).groups())
    answer(handler, 206, data[first : last + 1], Content_Range=f"bytes {first}-{last}/{len(data)}", **headers)
