"""Starts the parts on free loopback ports: scripted upstream, bridge, Dify in a box with the plugin process."""

import io
import json
import socket
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge import cli
from bridge.commands.package.command import plugin_package, tools_package
from bridge.store.store import Store
from demo import box, scripted
from demo.service import Service
from demo.task import EXAMPLES
from tools.ids import random_name
from tools.tokens import hash_token, new_token

ROOT = Path(__file__).resolve().parent.parent
PROVIDER = "clawback/clawback/clawback"


@dataclass
class Upstream:
    """A real OpenAI-compatible upstream instead of the scripted one."""

    base_url: str
    api_key: str = field(default="", repr=False)
    model: str = "scripted"
    light_model: str = "scripted-light"


class Stack:
    """All parts, running in `folder`. A context manager; leaving it ends them.

    `apps` names examples, `exports` other app exports by the model id under which they are shown. `app_settings`
    are keys of every app in the bridge's configuration, `each_app` those of single ones. `bridge_keys` are
    keys at the top of the bridge's configuration, `bridge_settings` its limits. `workspace` has Dify's own `tools`, as
    the box plays them, and which of them are `picked`; `retry` is for the bridge.
    """

    def __init__(
        self,
        folder: Path,
        *,
        apps: Sequence[str] = EXAMPLES,
        exports: Mapping[str, Path] | None = None,
        upstream: Upstream | None = None,
        upstream_model: str = "scripted",
        box_options: Sequence[str] = (),
        bridge_settings: Mapping[str, Any] | None = None,
        bridge_keys: Mapping[str, Any] | None = None,
        app_settings: Mapping[str, Any] | None = None,
        each_app: Mapping[str, Mapping[str, Any]] | None = None,
        plugin_folder: Path | None = None,
        credentials: Mapping[str, str] | None = None,
        workspace: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.client_token = new_token("client")
        self.plugin_token = new_token("plugin")
        self.executor_token = new_token("executor")
        self.operator_token = new_token("operator")
        self._exports = {app: ROOT / "examples" / f"{app}.yml" for app in apps} | dict(exports or {})
        self.apps = list(self._exports)
        self._keys = {app: f"app-{random_name(24)}" for app in self.apps}
        self._bridge_port, self._box_port = free_port(), free_port()
        self._parts: list[Service] = []
        self.scripted: Service | None = None
        self.tools_token = new_token("client")
        self._workspace = workspace
        try:
            self.upstream = upstream or self._start_scripted(upstream_model)
            self._write_config(bridge_keys or {}, bridge_settings or {}, app_settings or {}, each_app or {})
            self.bridge = self._start_bridge()
            self._write_credentials(credentials or {})
            self.box = self._start_box(plugin_folder or _plugin(folder), box_options)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> "Stack":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def bridge_url(self) -> str:
        """The bridge's address."""
        return f"http://127.0.0.1:{self._bridge_port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL."""
        return f"{self.bridge_url}/v1"

    @property
    def dify_url(self) -> str:
        """The service API's address, up to /v1."""
        return f"http://127.0.0.1:{self._box_port}/v1"

    @property
    def log_url(self) -> str:
        """Where the scripted upstream shows what it was asked."""
        return str(self.scripted.ready["log_url"]) if self.scripted else ""

    @property
    def box_url(self) -> str:
        """The box's own address, for its state."""
        return f"http://127.0.0.1:{self._box_port}"

    def app_key(self, app: str) -> str:
        """Return the key of an app's service API."""
        return self._keys[app]

    @property
    def store_url(self) -> str:
        """The SQLAlchemy URL of the bridge's store."""
        return f"sqlite:///{self.folder / 'bridge' / 'bridge.sqlite3'}"

    def store(self) -> Store:
        """Open the bridge's store, to read what happened."""
        return Store(self.store_url)

    def stop(self) -> None:
        """End all parts, the last started first."""
        while self._parts:
            self._parts.pop().stop()

    def _start(self, name: str, command: Sequence[str]) -> Service:
        service = Service(name, [sys.executable, *command], self.folder / f"{name}.log")
        self._parts.append(service)
        return service

    def _start_scripted(self, model: str) -> Upstream:
        api_key = f"sk-{random_name(32)}"
        self.scripted = self._start("scripted", ["-m", scripted.__name__, "--port", "0", "--api-key", api_key])
        return Upstream(self.scripted.ready["base_url"], api_key, model)

    def _write_config(
        self,
        keys: Mapping[str, Any],
        settings: Mapping[str, Any],
        app_settings: Mapping[str, Any],
        each_app: Mapping[str, Mapping[str, Any]],
    ) -> None:
        tokens = {
            "client": hash_token(self.client_token),
            "plugin": hash_token(self.plugin_token),
            "executor": hash_token(self.executor_token),
            "operator": hash_token(self.operator_token),
        }
        lines = [f"port = {self._bridge_port}", f"data_dir = {json.dumps(str(self.folder / 'bridge'))}"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in keys.items()]
        limits = dict(settings)
        lines += ["[tokens]", *(f"{name} = {json.dumps(value)}" for name, value in tokens.items())]
        lines += ["[limits]", *(f"{name} = {json.dumps(value)}" for name, value in limits.items())]
        for app, key in self._keys.items():
            values = {"model": app, "base_url": self.dify_url, "api_key": key, **app_settings, **each_app.get(app, {})}
            lines += ["[[apps]]", *(f"{name} = {_toml(value)}" for name, value in values.items())]
        if self._workspace is not None:
            tools = {"url": f"{self.box_url}/e/tools", "token": self.tools_token}
            tools |= {"retry": self._workspace.get("retry", {})}
            lines += ["[[dify_tools]]", *(f"{name} = {_toml(value)}" for name, value in tools.items())]
        path = self.folder / "clawback.toml"
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n")

    def _start_bridge(self) -> Service:
        return self._start(
            "bridge", ["-m", cli.__name__, "serve", "--json", "--config", str(self.folder / "clawback.toml")]
        )

    def _write_credentials(self, more: Mapping[str, str]) -> None:
        values = {
            "upstream_base_url": self.upstream.base_url,
            "upstream_api_key": self.upstream.api_key,
            "upstream_model": self.upstream.model,
            "upstream_model_light": self.upstream.light_model,
            "context_size": "128000",
            "bridge_url": self.bridge_url,
            "bridge_token": self.plugin_token,
            **more,
        }
        path = self.folder / "credentials.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps({PROVIDER: values}))

    def _start_box(self, plugin_folder: Path, options: Sequence[str]) -> Service:
        apps = [f"--app={self._exports[app]}:{key}" for app, key in self._keys.items()]
        command = ["-m", box.__name__, "--port", str(self._box_port), "--plugin-dir", str(plugin_folder), *apps]
        if self._workspace is not None:
            command += ["--tools-plugin", str(_tools_plugin(self.folder)), "--workspace", str(self._write_workspace())]
        return self._start("box", [*command, "--credentials", str(self.folder / "credentials.json"), *options])

    def _write_workspace(self) -> Path:
        assert self._workspace is not None  # noqa: S101 - asked where there is one
        settings = {"token": self.tools_token, "tools": self._workspace["picked"]}
        path = self.folder / "workspace.json"
        path.touch(mode=0o600)
        login = self._workspace.get("login")
        path.write_text(json.dumps({"settings": settings, "tools": self._workspace["tools"], "login": login}))
        return path

    def summary(self) -> dict[str, Any]:
        """Return what any OpenAI client needs to talk to this stack."""
        return {
            "base_url": self.base_url,
            "api_key": self.client_token,
            "models": self.apps,
            "bridge_url": self.bridge_url,
            "page_url": f"{self.bridge_url}/",
            "dify_url": self.dify_url,
            "upstream_url": self.upstream.base_url,
            "operator_token": self.operator_token,
            "executor_token": self.executor_token,
            "app_key": self.app_key(self.apps[0]),
        }


def _plugin(folder: Path) -> Path:
    """Return a folder that is the plugin: the checkout, or else what an installed Clawback brings, unpacked."""
    if (ROOT / "manifest.yaml").exists():
        return ROOT
    with zipfile.ZipFile(io.BytesIO(plugin_package())) as package:
        package.extractall(folder / "plugin")
    return folder / "plugin"


def _tools_plugin(folder: Path) -> Path:
    """Return a folder that is Clawback Tools."""
    if (ROOT / "dify_tools").exists():
        return ROOT / "dify_tools"
    with zipfile.ZipFile(io.BytesIO(tools_package())) as package:
        package.extractall(folder / "tools-plugin")
    return folder / "tools-plugin"


def _toml(value: Any) -> str:
    if not isinstance(value, Mapping):
        return json.dumps(value)
    return "{" + ", ".join(f"{name} = {_toml(child)}" for name, child in value.items()) + "}"


def free_port() -> int:
    """Return a loopback port that was free a moment ago.

    The bridge and the box must know each other's address before either runs.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
