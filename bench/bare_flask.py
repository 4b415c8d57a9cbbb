"""The least that could hand a result over: Flask under gunicorn's gevent worker, a dict and an event, nothing kept.

`python -m bench.bare_flask` prints `{"url"}` when it listens. `GET /wait/NAME` answers once `POST /set/NAME` has come.
`POST /answer/SIZE` reads JSON and answers with that many bytes of it, `POST /open/NAME` keeps what it reads.
"""

import json
import threading
from typing import Any

from flask import Flask, Response, request
from gunicorn.app.base import BaseApplication


class Bare(BaseApplication):  # type: ignore[misc]
    def load_config(self) -> None:
        settings: dict[str, Any] = {
            "bind": "127.0.0.1:0",
            "workers": 1,
            "worker_class": "gevent",
            "worker_connections": 10_000,
            "keepalive": 75,
            "loglevel": "warning",
            "post_worker_init": announce,
            "control_socket_disable": True,
        }
        for name, value in settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:
        app = Flask("bare")
        events: dict[str, threading.Event] = {}
        results: dict[str, bytes] = {}
        opened: dict[str, Any] = {}

        @app.get("/wait/<name>")
        def wait(name: str) -> Response:
            events.setdefault(name, threading.Event()).wait(60)
            return Response(results.get(name, b"null"), content_type="application/json")

        @app.post("/open/<name>")
        def keep(name: str) -> Response:
            opened[name] = request.get_json()
            return Response(json.dumps({"name": name, "state": "open"}), content_type="application/json")

        @app.post("/set/<name>")
        def take(name: str) -> Response:
            results[name] = request.get_data()
            events.setdefault(name, threading.Event()).set()
            return Response(b"{}", content_type="application/json")

        @app.post("/answer/<int:size>")
        def answer(size: int) -> Response:
            asked = request.get_json()
            return Response(json.dumps({"asked": len(asked), "text": "x" * size}), content_type="application/json")

        return app


def announce(worker: Any) -> None:
    host, port = worker.sockets[0].getsockname()[:2]
    print(json.dumps({"url": f"http://{host}:{port}"}), flush=True)


if __name__ == "__main__":
    Bare().run()
