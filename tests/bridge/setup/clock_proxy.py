"""Stands between bridge and Dify, and says another time: nobody may change the clock of the machine for a test."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx


@dataclass
class Clock:
    """`url` is where Dify is to be reached with a clock that is `ahead` by so many seconds."""

    url: str
    ahead: float = 0.0


@contextmanager
def clock_of(dify_url: str) -> Iterator[Clock]:
    """Run it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {"Authorization": self.headers["Authorization"]} if "Authorization" in self.headers else {}
            answer = httpx.get(f"{dify_url}{self.path}", headers=headers, timeout=30, trust_env=False)
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["content-type"])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(time.time() + clock.ahead, usegmt=True)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        clock = Clock(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield clock
        finally:
            server.shutdown()
            thread.join()
