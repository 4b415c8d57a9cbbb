"""The bridge under gunicorn, with gevent workers: a waiting client or plugin costs a greenlet, not a thread."""

import gc
import logging
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from bridge.config import Config
from bridge.server import serving
from bridge.server.reload import Reload
from bridge.store.place import StoreError
from tools.tokens import hash_token, new_token

if TYPE_CHECKING:
    from flask import Flask

log = logging.getLogger("clawback.server")

# One worker owns all live runs: what they share is in its memory, and a gevent worker holds thousands of streams.
WORKERS = 1
CONNECTIONS = 10_000
LOOK_SECONDS = 0.2
_LONGEST_REASON = 64 * 1024


class Server(BaseApplication):
    """Serves the bridge until it is told to stop. `on_ready` gets the base URL once requests are answered.

    On SIGHUP it takes what the configuration at `path` says by then; with `watch`, whenever that was written.
    """

    def __init__(
        self,
        path: Path,
        config: Config,
        on_ready: Callable[[str], None],
        log_level: str = "info",
        *,
        watch: bool = False,
    ) -> None:
        self._path = path
        self._watch = watch
        self._hung_up = False
        self._began = time.time()
        self._config = config
        self._on_ready = on_ready
        self._log_level = log_level
        self._told = os.pipe()
        self._local_token = new_token("local")
        config.tokens.admit_local(hash_token(self._local_token))
        super().__init__()

    def load_config(self) -> None:
        """Tell gunicorn how to run."""
        settings: dict[str, Any] = {
            "bind": f"{self._config.host}:{self._config.port}",
            "workers": WORKERS,
            "worker_class": f"{__package__}.worker.Worker",
            "worker_connections": CONNECTIONS,
            "graceful_timeout": self._config.limits.stop_seconds,
            "timeout": 120,
            "keepalive": self._config.limits.request_seconds,
            "loglevel": self._log_level,
            "logger_class": f"{__package__}.logs.ServerLog",
            "post_worker_init": self._ready,
            "worker_exit": self._close,
            "on_exit": self._gone,
            # gunicorn's control interface would open a socket of its own; nothing here needs it.
            "control_socket_disable": True,
        }
        for name, value in settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> "Flask":  # type: ignore[override]
        """Make the application, inside the worker, where gevent has patched the standard library."""
        # What is made here stays: there is nothing to collect while it is made.
        gc.disable()
        # Here, since the server's first process needs nothing of it, and keeps what it has loaded.
        from bridge.store.upgrade import open_first

        try:
            open_first(self._config.store_url)
            made: Flask = _application().create_app(self._config)
        except (StoreError, OSError) as error:
            os.write(self._told[1], str(error).encode())
            raise SystemExit(Arbiter.APP_LOAD_ERROR) from None
        # Later collections pass by what is there now.
        gc.freeze()
        gc.enable()
        return made

    def run(self) -> None:
        """Serve. Raises StoreError where the bridge cannot begin."""
        _raise_limit()
        # Both processes go on sharing what nobody touches.
        gc.freeze()
        Master(self).run()

    def why_not(self) -> str:
        """Return why the worker could not begin."""
        return os.read(self._told[0], _LONGEST_REASON).decode()

    def _ready(self, worker: Any) -> None:
        signal.signal(signal.SIGHUP, self._hang_up)
        worker.limits = self._config.limits
        host, port = worker.sockets[0].getsockname()[:2]
        local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - recognised, not bound
        self._announce(_url(local, port))
        looking = (worker, _url(local, port))
        threading.Thread(target=self._look_out, args=looking, daemon=True, name="clawback-look-out").start()
        self._on_ready(_url(local, port))

    def _announce(self, url: str) -> None:
        try:
            serving.announce(self._config, url, self._local_token, self._began)
        except OSError as error:
            log.warning("commands on this machine will not find the bridge: %s", error)

    def _hang_up(self, *_: object) -> None:
        self._hung_up = True

    def _look_out(self, worker: Any, url: str) -> None:
        """Take a changed configuration; and tell the application of a stop, since gunicorn only waits for it."""
        app = _application()
        reload = Reload(self._path, self._config, lambda policy: app.reconfigure(worker.wsgi, policy))
        while worker.alive:
            time.sleep(LOOK_SECONDS)
            try:
                if self._hung_up or (self._watch and reload.has_changed()):
                    self._hung_up = False
                    if reload.reload():
                        self._announce(url)
            except Exception:
                log.exception("the configuration could not be taken")
        # Again and again until the process ends: some begin to wait before the door is shut.
        while True:
            app.stop(worker.wsgi)
            worker.release_idle()
            time.sleep(LOOK_SECONDS)

    def _close(self, _arbiter: Any, worker: Any) -> None:
        # A worker that never came to make the application has none.
        if getattr(worker, "wsgi", None):
            _application().close(worker.wsgi)
        # Python forgets handlers as the process ends, and for that would take a lock that gevent no longer has then.
        logging.shutdown()
        logging._handlerList.clear()  # type: ignore[attr-defined]

    def _gone(self, _arbiter: Any) -> None:
        serving.withdraw(self._config, self._local_token)


class Master(Arbiter):
    """gunicorn's first process, which hands SIGHUP on instead of putting another worker in the place of this one."""

    app: Server

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        """Stop. Raises StoreError where that is since the bridge cannot begin."""
        try:
            super().halt(reason, exit_status)
        except SystemExit:
            if exit_status != self.APP_LOAD_ERROR:
                raise
            raise StoreError(self.app.why_not()) from None

    def handle_hup(self) -> None:
        """Let the worker take the configuration as it is now."""
        self.kill_workers(signal.SIGHUP)


def _raise_limit() -> None:
    """Take as many descriptors as the system gives without being asked for more: two for each connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 4 * CONNECTIONS)
    if resource.RLIM_INFINITY != soft < wanted:
        # macOS has further limits of its own.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _application() -> Any:
    """Return the module bridge.app, which stands above the server: by its name, as gunicorn itself would."""
    return import_module(".app", __package__.rpartition(".")[0])


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
