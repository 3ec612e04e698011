"""A web server on 127.0.0.1 that serves one file, well or badly."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WebServer:
    """Serves `content` at every path, except where told otherwise; a context manager.

    Attributes:
        content: The file.
        etag: Its ETag; None sends none.
        ranges: Whether Range requests are answered with 206.
        cuts: For each request in turn, after how many bytes of its body the connection is closed; then no more cuts.
        statuses: For each request in turn, an error status to answer with instead; then no more.
        redirects: Path -> address it leads to.
        requests: Of each request: its path and its headers.
    """

    def __init__(self, content: bytes = b""):
        self.content, self.etag, self.ranges = content, '"1"', True
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.redirects: dict[str, str] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []

    def __enter__(self) -> "WebServer":
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, name: str = "file.bin") -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def ranges_asked(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Says nothing: a client that has seen enough hangs up."""


class _Handler(BaseHTTPRequestHandler):
    site: WebServer

    def do_GET(self):
        site = self.site
        site.requests.append((self.path, dict(self.headers)))
        if self.path in site.redirects:
            self._answer(302, {"Location": site.redirects[self.path]})
        elif site.statuses:
            self._answer(site.statuses.pop(0), {})
        else:
            self._send_file(site)

    def _send_file(self, site: WebServer):
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        same_version = self.headers.get("If-Range") in (None, site.etag)
        headers = {"ETag": site.etag} if site.etag else {}
        if not (site.ranges and start and same_version):
            self._answer(200, headers, site.content)
        elif start >= len(site.content):
            self._answer(416, headers)
        else:
            span = f"bytes {start}-{len(site.content) - 1}/{len(site.content)}"
            self._answer(206, {**headers, "Content-Range": span}, site.content[start:])

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b""):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        cut = self.site.cuts.pop(0) if self.site.cuts and body else len(body)
        self.wfile.write(body[:cut])
        self.close_connection = True

    def log_message(self, *args):
        """Keeps test output clean."""
