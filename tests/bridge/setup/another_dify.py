"""Stands between bridge and Dify, and says another time or another kind of app.

Nobody may change the clock of the machine for a test, and the box has no apps of the kinds that are not served.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx


@dataclass
class AnotherDify:
    """`url` is where Dify is to be reached with a clock that is `ahead` by so many seconds.

    The app that `text_key` opens is a knowledge pipeline there.
    """

    url: str
    ahead: float = 0.0
    text_key: str = ""


@contextmanager
def another(dify_url: str) -> Iterator[AnotherDify]:
    """Run it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {"Authorization": self.headers["Authorization"]} if "Authorization" in self.headers else {}
            answer = httpx.get(f"{dify_url}{self.path}", headers=headers, timeout=30, trust_env=False)
            content = answer.content
            if dify.text_key and self.headers["Authorization"] == f"Bearer {dify.text_key}":
                content = content.replace(b'"advanced-chat"', b'"rag-pipeline"')
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["content-type"])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(time.time() + dify.ahead, usegmt=True)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        dify = AnotherDify(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield dify
        finally:
            server.shutdown()
            thread.join()
