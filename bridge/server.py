"""The bridge under gunicorn, with gevent workers: a waiting client or plugin costs a greenlet, not a thread."""

from collections.abc import Callable
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from bridge.config import Config

# One worker owns all live runs: what they share is in its memory, and a gevent worker holds thousands of streams.
WORKERS = 1
CONNECTIONS = 10_000
GRACEFUL_SECONDS = 20


class Server(BaseApplication):
    """Serves the bridge until it is told to stop. `on_ready` gets the base URL once requests are answered."""

    def __init__(self, config: Config, on_ready: Callable[[str], None], log_level: str = "info") -> None:
        self._config = config
        self._on_ready = on_ready
        self._log_level = log_level
        super().__init__()

    def load_config(self) -> None:
        """Tell gunicorn how to run."""
        settings: dict[str, Any] = {
            "bind": f"{self._config.host}:{self._config.port}",
            "workers": WORKERS,
            "worker_class": "gevent",
            "worker_connections": CONNECTIONS,
            "graceful_timeout": GRACEFUL_SECONDS,
            "timeout": 120,
            "keepalive": 75,
            "loglevel": self._log_level,
            "post_worker_init": self._ready,
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
        self._on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
