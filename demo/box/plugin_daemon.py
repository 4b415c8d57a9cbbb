"""The plugin inside Dify's own plugin daemon, spoken to as Dify does: for a machine that has one.

It takes the place of `PluginProcess`. Source: core/plugin/impl/base.py and model.py.
"""

import json
from collections import deque
from collections.abc import Iterator

import httpx

from demo.box.config import DaemonAddress, Limits
from demo.box.errors import DAEMON_INNER_ERROR, DaemonError
from demo.box.plugin_process import Packet, PluginStartError

_PATHS = {
    "invoke_llm": "llm/invoke",
    "get_ai_model_schemas": "model/schema",
    "validate_provider_credentials": "model/validate_provider_credentials",
}


class PluginDaemon:
    """A plugin that is installed in a daemon under `plugin_id`, as `author/name`."""

    pid: int | None = None
    starts = 0

    def __init__(self, address: DaemonAddress, plugin_id: str, limits: Limits | None = None) -> None:
        seconds = (limits or Limits()).plugin_idle_seconds
        self.log: deque[str] = deque(maxlen=0)
        self._url = f"{address.url}/plugin/{address.tenant}/dispatch"
        headers = {"X-Api-Key": address.key, "X-Plugin-ID": plugin_id}
        self._http = httpx.Client(headers=headers, timeout=seconds, trust_env=False)

    def start(self) -> None:
        """See that somebody is there. Raises PluginStartError."""
        try:
            self._http.post(f"{self._url}/model/schema", json={})
        except httpx.HTTPError as error:
            raise PluginStartError(f"there is no plugin daemon at {self._url}: {error}") from error

    def stop(self) -> None:
        """Let go of the daemon, which goes on."""
        self._http.close()

    def invoke(self, action: str, data: Packet, *, app_id: str | None = None) -> Iterator[Packet]:
        """Send one model request and yield the plugin's chunks. Raises DaemonError."""
        given = {name: value for name, value in data.items() if name != "user_id"}
        body = {"user_id": data.get("user_id"), "app_id": app_id, "data": given}
        try:
            with self._http.stream("POST", f"{self._url}/{_PATHS[action]}", json=body) as response:
                for line in response.iter_lines():
                    if line:
                        yield _data(json.loads(line.removeprefix("data:")))
        except httpx.HTTPError as error:
            raise DaemonError(DAEMON_INNER_ERROR, "Request to Plugin Daemon Service failed-500") from error


def _data(item: Packet) -> Packet:
    if item["code"] == 0:
        data: Packet = item["data"]
        return data
    error = json.loads(item["message"])
    raise DaemonError(error["error_type"], error["message"])
