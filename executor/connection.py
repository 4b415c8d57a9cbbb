"""The bridge's executor API, as a client. Routes and bodies: bridge.api.executor."""

from typing import Any

import httpx

from executor.toolbox import LeasedCall
from tools.results import ToolResult
from tools.wire import bridge_root


class BridgeRefused(Exception):
    """The bridge answered with an error. `code` is its code, `status` the HTTP status."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class BridgeUnreachable(Exception):
    """The bridge did not answer, or not with sense; trying again may help."""


class Connection:
    """Talks to one bridge. Every method raises BridgeRefused or BridgeUnreachable."""

    def __init__(self, bridge_url: str, token: str) -> None:
        self._url = bridge_root(bridge_url)
        self._http = httpx.Client(
            base_url=f"{self._url}/executor/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(10, read=60),
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def register(self, name: str, tools: list[dict[str, Any]], patterns: list[str], concurrency: int) -> dict[str, Any]:
        """Register and return `executor_id`, `lease_seconds`, `heartbeat_seconds`, `max_wait_seconds`."""
        body = {"name": name, "tools": tools, "patterns": patterns, "concurrency": concurrency}
        return self._post("/executors", body)

    def offer(self, executor_id: str, tools: list[dict[str, Any]]) -> None:
        """Say that the tools are others now."""
        self._post(f"/executors/{executor_id}/heartbeat", {"tools": tools})

    def claim(self, executor_id: str, most: int, wait: float) -> list[LeasedCall]:
        """Return calls to run; wait up to `wait` seconds for the first."""
        answer = self._post(f"/executors/{executor_id}/claim", {"max": most, "wait": wait})
        return [
            LeasedCall(call["lease_id"], call["tool_call_id"], call["name"], call["arguments"], call["run_id"])
            for call in answer["calls"]
        ]

    def extend(self, executor_id: str, leases: list[str]) -> list[str]:
        """Prolong leases and return those that are over. It also says that this executor is there."""
        lost: list[str] = self._post(f"/executors/{executor_id}/extend", {"leases": leases})["lost"]
        return lost

    def post(self, executor_id: str, lease_id: str, result: ToolResult) -> None:
        """Hand in a result."""
        self._post(f"/executors/{executor_id}/results", {"results": [result.model_dump() | {"lease_id": lease_id}]})

    def let_go(self, executor_id: str, leases: list[str]) -> None:
        """Give calls back that were not run."""
        self._post(f"/executors/{executor_id}/let_go", {"leases": leases})

    def leave(self, executor_id: str) -> None:
        """Sign off."""
        self._request("DELETE", f"/executors/{executor_id}", None)

    def _post(self, path: str, body: object) -> dict[str, Any]:
        return self._request("POST", path, body)

    def _request(self, method: str, path: str, body: object) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, json=body)
            answer = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise BridgeUnreachable(
                f"the bridge at {self._url} does not answer (--bridge names another): {error or type(error).__name__}"
            ) from None
        if response.is_success and isinstance(answer, dict):
            return answer
        problem = answer.get("error") if isinstance(answer, dict) else None
        if response.status_code >= 500 or not isinstance(problem, dict):
            raise BridgeUnreachable(f"the bridge at {self._url} failed with HTTP {response.status_code}")
        raise BridgeRefused(response.status_code, str(problem.get("code")), str(problem.get("message")))
