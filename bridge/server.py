"""The bridge under gunicorn, with gevent workers: a waiting client or plugin costs a greenlet, not a thread."""

import threading
import time
from collections.abc import Callable
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from bridge import serving
from bridge.config import Config
from bridge.tokens import hash_token, new_token

# One worker owns all live runs: what they share is in its memory, and a gevent worker holds thousands of streams.
WORKERS = 1
CONNECTIONS = 10_000
LOOK_SECONDS = 0.2


class Server(BaseApplication):
    """Serves the bridge until it is told to stop. `on_ready` gets the base URL once requests are answered."""

    def __init__(self, config: Config, on_ready: Callable[[str], None], log_level: str = "info") -> None:
        self._config = config
        self._on_ready = on_ready
        self._log_level = log_level
        self._local_token = new_token("local")
        config.tokens.admit_local(hash_token(self._local_token))
        super().__init__()

    def load_config(self) -> None:
        """Tell gunicorn how to run."""
        settings: dict[str, Any] = {
            "bind": f"{self._config.host}:{self._config.port}",
            "workers": WORKERS,
            "worker_class": "bridge.worker.Worker",
            "worker_connections": CONNECTIONS,
            "graceful_timeout": self._config.limits.stop_seconds,
            "timeout": 120,
            "keepalive": 75,
            "loglevel": self._log_level,
            "post_worker_init": self._ready,
            "on_exit": self._gone,
            # gunicorn's control interface would open a socket of its own; nothing here needs it.
            "control_socket_disable": True,
        }
        for name, value in settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:  # type: ignore[override]
        """Make the application, inside the worker, where gevent has patched the standard library."""
        from bridge.app import create_app

        return create_app(self._config)

    def _ready(self, worker: Any) -> None:
        host, port = worker.sockets[0].getsockname()[:2]
        local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - recognised, not bound
        serving.announce(self._config, _url(local, port), self._local_token)
        threading.Thread(target=self._look_out, args=(worker,), daemon=True, name="clawback-look-out").start()
        self._on_ready(_url(host, port))

    def _look_out(self, worker: Any) -> None:
        """Tell the application when the worker was told to stop: gunicorn only waits for it."""
        from bridge.app import stop

        while worker.alive:
            time.sleep(LOOK_SECONDS)
        stop(worker.wsgi)
        worker.release_idle()

    def _gone(self, _arbiter: Any) -> None:
        serving.withdraw(self._config, self._local_token)


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
