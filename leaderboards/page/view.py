"""The `view` verb: the page of a folder on this machine's loopback address, read as it is asked for.

Nothing leaves the machine: it listens on 127.0.0.1 and answers only requests that name it so, which keeps a web page that a
browser has open from reading samples through another name (DNS rebinding).
"""

from __future__ import annotations

import gzip
import threading
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from harness.core.errors import ConfigError, RlfrEvalError
from leaderboards.page.site import Site

HOST = "127.0.0.1"
_KINDS = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "png": "image/png",
    "woff2": "font/woff2",
}


class Handler(BaseHTTPRequestHandler):
    """Answers GET from the site, one request at a time where the site reads files."""

    def __init__(self, *args: object, site: Site, lock: threading.Lock) -> None:
        self.site, self.lock = site, lock
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host")
        if host not in (HOST, "localhost"):
            self._answer(HTTPStatus.FORBIDDEN, b"ask for 127.0.0.1", "text/plain")
            return
        path = urlsplit(self.path).path.lstrip("/") or "index.html"
        try:
            with self.lock:
                found = self.site.content(unquote(path))
        except RlfrEvalError as error:
            self._answer(HTTPStatus.NOT_FOUND, str(error).encode(), "text/plain; charset=utf-8")
            return
        self._answer(HTTPStatus.OK, found, _KINDS.get(path.rpartition(".")[2], "text/plain; charset=utf-8"))

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        small = (
            len(body) > 10_000
            and "gzip" in (self.headers.get("Accept-Encoding") or "")
            and not kind.startswith("image")
        )
        body = gzip.compress(body, 1) if small else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        if small:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the terminal shows the address and nothing else."""


def serve(site: Site, port: int = 0) -> ThreadingHTTPServer:
    """A server that is bound and not yet running; port 0 takes a free one. Raises ConfigError where the port is taken."""
    try:
        return ThreadingHTTPServer((HOST, port), partial(Handler, site=site, lock=threading.Lock()))
    except OSError as error:
        raise ConfigError(f"port {port} of {HOST} cannot be used ({error.strerror})", "give another --port") from error


def address(server: ThreadingHTTPServer) -> str:
    """What to open in a browser."""
    return f"http://{HOST}:{server.server_address[1]}/"
