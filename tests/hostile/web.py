"""A server on loopback that answers as no server should."""

import gzip
import http.server
import re
import threading
from collections.abc import Callable
from typing import Any

Answer = Callable[["http.server.BaseHTTPRequestHandler"], None]


class Web:
    """A server of prepared answers, by path; it lives as long as the process.

    Attributes:
        address: Its URL, without a slash at the end.
    """

    def __init__(self) -> None:
        answers = self._answers = {}  # type: dict[str, Answer]

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.close_connection = True
                answer = next((made for path, made in answers.items() if self.path.startswith(path)), None)
                self.send_error(404) if answer is None else answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self, path: str, answer: Answer) -> str:
        """Answer requests of a path and what is below it; return its URL."""
        self._answers[path] = answer
        return self.address + path


def sends(status: int, headers: dict[str, str], body: bytes = b"", reason: str | None = None) -> Answer:
    """Return an answer of exactly these headers, without a length that is right."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response_only(status, reason)
        for name, value in ({"Connection": "close"} | headers).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def sends_raw(data: bytes) -> Answer:
    """Return an answer of these bytes, header or not."""
    return lambda request: request.wfile.write(data)


def sends_file(content: bytes, **changed: str) -> Answer:
    """Return an answer that gives whole and ranges of a content; header fields can be replaced, or removed by ""."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        first = int(wanted[1]) if wanted else 0
        last = min(int(wanted[2]) if wanted and wanted[2] else len(content) - 1, len(content) - 1)
        headers = {"Content-Length": str(last - first + 1), "ETag": '"one"', "Accept-Ranges": "bytes"}
        if wanted:
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        headers |= {name.replace("_", "-"): value for name, value in changed.items()}
        body = b"" if request.command == "HEAD" else content[first : last + 1]
        sends(206 if wanted else 200, {name: value for name, value in headers.items() if value}, body)(request)

    return answer


def redirects(to: str) -> Answer:
    """Return an answer that points elsewhere."""
    return sends(302, {"Location": to, "Content-Length": "0"})


def sends_folder(files: dict[str, bytes], zipped: bool = False) -> Answer:
    """Return an answer that gives the files of a set, by the end of their path."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        content = next((data for name, data in files.items() if request.path.endswith(name)), None)
        if content is None:
            return request.send_error(404)
        changed = {"Content-Encoding": "gzip"} if zipped else {}
        return sends_file(gzip.compress(content) if zipped else content, **changed)(request)

    return answer
