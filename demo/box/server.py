"""Puts a box together and serves it."""

import importlib.metadata
import json
import signal
import sys
from typing import Literal

import gevent
import gevent.event
from flask import Flask
from gevent.pywsgi import WSGIServer

from demo.box import console, debug_api, endpoints, service_api
from demo.box.access import Access
from demo.box.app_export import App
from demo.box.config import BoxConfig
from demo.box.credentials import Credentials
from demo.box.endpoints import EndpointPlugin
from demo.box.forms import Forms
from demo.box.model import ModelCatalogue
from demo.box.plugin_daemon import PluginDaemon
from demo.box.plugin_folder import PluginFolder
from demo.box.plugin_process import PluginProcess
from demo.box.quiet_events import quieten
from demo.box.runs import Runs
from demo.box.store import Store
from demo.box.workspace import Workspace

BACKLOG = 1024


class Box:
    """One box: its apps, its plugin process and its web application."""

    def __init__(self, config: BoxConfig) -> None:
        quieten()
        self._config = config
        self.apps = tuple(App.read(source.path, source.key) for source in config.apps)
        folder = PluginFolder.read(config.plugin_folder)
        self.process: PluginProcess | PluginDaemon = (
            PluginDaemon(config.daemon, folder.plugin_id, config.limits)
            if config.daemon
            else PluginProcess(config.plugin_folder, config.limits)
        )
        self._workspace = workspace = Workspace(config.workspace, config.limits.backwards_seconds)
        self._endpoint_plugin = (
            EndpointPlugin(config.tools_plugin, config.limits, workspace) if config.tools_plugin else None
        )
        self._store = Store()
        self._models = ModelCatalogue(
            folder,
            self.process,
            Credentials.from_file(config.credentials_file),
            raw_parameters=config.imitation.raw_parameters,
        )

    @property
    def processes(self) -> list[PluginProcess | PluginDaemon]:
        """The plugins' processes."""
        return [self.process, *([self._endpoint_plugin.process] if self._endpoint_plugin else [])]

    @property
    def connections(self) -> int | Literal["default"]:
        """How many connections are taken at once, as gevent's servers want to be told."""
        return self._config.limits.connections or "default"

    @property
    def address(self) -> tuple[str, int]:
        """Where to serve: host and port."""
        return self._config.host, self._config.port

    def web(self) -> Flask:
        """The web application: the service API under /v1, the box's own routes under /box."""
        access = Access(self.apps, self._store)
        forms = Forms(self._config.limits)
        runs = Runs(self._store, self._models, self._config.limits, self._config.imitation, forms)
        flask = Flask(__name__)
        flask.register_blueprint(service_api.create_blueprint(access, self._store, runs, self._config.imitation, forms))
        flask.register_blueprint(console.create_blueprint(self._workspace))
        flask.register_blueprint(endpoints.create_blueprint(self._endpoint_plugin))
        flask.register_blueprint(debug_api.create_blueprint(access, self._store, runs, self.process, forms))
        return flask

    def ready_line(self, port: int) -> str:
        """The line that tells a parent process where everything is. `dify_url` is what Dify shows as its API server."""
        line = {
            "dify_url": f"http://{self._config.host}:{port}/v1",
            "plugin": {"pid": self.process.pid, "sdk": importlib.metadata.version("dify_plugin")},
            "endpoint_url": f"http://{self._config.host}:{port}/e/{endpoints.HOOK}" if self._endpoint_plugin else None,
            "apps": [{"name": app.name, "key": app.key, "app_id": app.id} for app in self.apps],
        }
        return json.dumps(line) + "\n"


def serve(box: Box) -> None:
    """Start the plugin, serve and print the ready line; return when SIGTERM or SIGINT comes, the plugin ended.

    Raises PluginStartError when the plugin does not come up, OSError when the port is taken.
    """
    ended = gevent.event.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, ended.set)
    try:
        for process in box.processes:
            process.start()
        server = WSGIServer(box.address, box.web(), log=None, backlog=BACKLOG, spawn=box.connections)
        server.start()
        sys.stdout.write(box.ready_line(int(server.server_port or 0)))
        sys.stdout.flush()
        ended.wait()
        server.stop(timeout=0)
    finally:
        for process in box.processes:
            process.stop()
