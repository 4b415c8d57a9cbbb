"""The tools of a running OpenClaw gateway, run under its own policy and approvals: see executor.openclaw_model."""

import logging
import threading
from typing import Any

import httpx

from executor.openclaw_model import MODEL, Hands, prompt
from executor.toolbox import LeasedCall, ToolboxError
from tools.results import ToolResult

log = logging.getLogger("clawback.executor")

PROVIDER = "clawback-hands"
CALL_SECONDS = 3600.0
HELLO = "hello000"
HELLO_SECONDS = 90.0

OWN_TOOLS = frozenset({"sessions_yield", "openclaw"})
"""Tools by which OpenClaw steers its own turn; they mean nothing outside of it."""


class OpenClawTools:
    """A toolbox of one OpenClaw gateway."""

    def __init__(
        self, gateway_url: str, gateway_token: str, api_key: str, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._catalogue: list[dict[str, Any]] = []
        self._heard = threading.Event()
        self._gateway = httpx.Client(
            base_url=gateway_url.rstrip("/"),
            headers={"Authorization": f"Bearer {gateway_token}", "x-openclaw-model": f"{PROVIDER}/{MODEL}"},
            timeout=httpx.Timeout(10, read=CALL_SECONDS),
        )
        try:
            self._hands = Hands(host, port, api_key, self._take_catalogue)
        except OSError as error:
            raise ToolboxError(f"port {port} cannot be used: {error.strerror}; choose another with --port") from None

    @property
    def url(self) -> str:
        """The base URL for OpenClaw's provider entry."""
        return self._hands.url

    def hello(self) -> None:
        """Begin a turn in which nothing is run, to learn which tools there are. Raises ToolboxError."""
        try:
            self._hands.session(HELLO).close()
            self._begin(HELLO, read=HELLO_SECONDS)
        except httpx.HTTPStatusError as error:
            raise ToolboxError(
                f"the gateway answered HTTP {error.response.status_code}: {error.response.text[:500]}"
            ) from None
        except httpx.HTTPError as error:
            raise ToolboxError(f"the gateway does not answer: {error or type(error).__name__}") from None
        finally:
            self._hands.forget(HELLO)
        if not self._heard.is_set():
            raise ToolboxError(
                f"OpenClaw ran a turn, but not with the model {PROVIDER}/{MODEL}: its configuration needs the provider "
                "entry that `clawback executor openclaw --print-config` prints"
            )

    def _take_catalogue(self, tools: list[dict[str, Any]]) -> None:
        found = [
            {"type": "function", "function": each["function"], "read_only": False}
            for each in tools
            if each.get("type") == "function" and each["function"]["name"] not in OWN_TOOLS
        ]
        if found != self._catalogue:
            log.info("catalogue", extra={"tools": len(found)})
            self._catalogue = found
        self._heard.set()

    def definitions(self) -> list[dict[str, Any]]:
        """Return the tools that OpenClaw's last turn had."""
        return self._catalogue

    def run(self, call: LeasedCall) -> ToolResult:
        """Have OpenClaw run a call, in the turn of its run if there is one."""
        session = self._hands.session(call.run_id)
        outcome, begin = session.want(call.name, call.arguments)
        if begin:
            threading.Thread(target=self._turns, args=(call.run_id,), daemon=True, name="clawback-turn").start()
        try:
            return call.result(outcome.result(CALL_SECONDS))
        except RuntimeError as error:
            return call.result(f"Error: {error}", is_error=True)

    def _turns(self, key: str) -> None:
        session = self._hands.session(key)
        waits = True
        while waits:
            error = None
            try:
                self._begin(key, read=CALL_SECONDS)
            except httpx.HTTPStatusError as failure:
                error = f"OpenClaw refused the turn: HTTP {failure.response.status_code} {failure.response.text[:500]}"
            except httpx.HTTPError as failure:
                error = f"OpenClaw does not answer: {failure or type(failure).__name__}"
            if error:
                log.warning("%s", error)
            waits = session.turn_over(error)
        self._hands.forget(key)

    def _begin(self, key: str, read: float) -> None:
        body = {
            "model": "openclaw",
            "user": f"clawback-{key}",
            "messages": [{"role": "user", "content": prompt(self._hands.session(key))}],
        }
        timeout = httpx.Timeout(10, read=read)
        self._gateway.post("/v1/chat/completions", json=body, timeout=timeout).raise_for_status()

    def close(self) -> None:
        """Serve the model no more."""
        self._hands.close()
        self._gateway.close()


def provider_entry(base_url: str, api_key: str) -> dict[str, Any]:
    """Return what OpenClaw's configuration needs: to be put at `models.providers.clawback-hands`."""
    return {
        "baseUrl": base_url,
        "apiKey": api_key,
        "api": "openai-completions",
        "models": [
            {
                "id": MODEL,
                "name": "Clawback's hands",
                "reasoning": False,
                "input": ["text"],
                "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
                "contextWindow": 1_000_000,
                "maxTokens": 8_192,
            }
        ],
    }
