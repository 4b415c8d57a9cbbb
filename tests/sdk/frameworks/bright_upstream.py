"""An upstream that understands a few plain questions: a frameworks' tests do not speak in directives.

It puts directives under the questions that it knows and hands the request on to the scripted upstream.
"""

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx


class BrightUpstream:
    """A server in this process, in front of `target` (a base URL). `answers`: a part of a question -> directives."""

    def __init__(self, target: str, answers: Mapping[str, str]) -> None:
        self._target = target
        self._answers = answers
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _taught(self, body: dict[str, Any]) -> dict[str, Any]:
        for message in body["messages"]:
            content = message["content"]
            known = [answer for question, answer in self._answers.items() if question in str(content)]
            if message["role"] == "user" and isinstance(content, str) and known:
                message["content"] = f"{content}\n{known[0]}"
        return body

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                headers = {"Authorization": self.headers["Authorization"]}
                url = f"{upstream._target}/chat/completions"
                with httpx.stream("POST", url, json=upstream._taught(body), headers=headers, timeout=60) as answer:
                    self.send_response(answer.status_code)
                    self.send_header("Content-Type", answer.headers["Content-Type"])
                    self.send_header("Connection", "close")
                    self.end_headers()
                    for piece in answer.iter_raw():
                        self.wfile.write(piece)
                        self.wfile.flush()

            def log_message(self, *_: object) -> None:
                pass

        return Handler
