"""The parties of the executor direction: a person at Dify, and a machine with executors and someone who decides."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import httpx

from demo.service import Service
from demo.stack import ROOT, Stack

SECONDS = 60
PERSON_SECONDS = 280
"""So long may somebody look at the page, while a call waits for them."""


class Chat:
    """A person at Dify's own API."""

    def __init__(self, stack: Stack, app: str, user: str) -> None:
        self._stack, self._key, self._user = stack, stack.app_key(app), user
        self._conversation = ""

    def say(self, *lines: str) -> str:
        response = httpx.post(
            f"{self._stack.dify_url}/chat-messages",
            headers={"Authorization": f"Bearer {self._key}"},
            json={
                "inputs": {},
                "query": "\n".join(lines),
                "user": self._user,
                "conversation_id": self._conversation,
                "response_mode": "blocking",
            },
            timeout=PERSON_SECONDS,
        )
        assert response.status_code == 200, response.text
        self._conversation = response.json()["conversation_id"]
        answer: str = response.json()["answer"]
        return answer


class Served(Protocol):
    """A bridge, and the tokens of those who run calls and decide."""

    executor_token: str
    operator_token: str

    @property
    def bridge_url(self) -> str:
        """The bridge's address."""


class Machine:
    """The machine of someone who runs executors, and decides."""

    def __init__(self, stack: Served, folder: Path) -> None:
        self._stack = stack
        self.folder = folder
        self._services: list[Service] = []
        self.environ = {
            "CLAWBACK_BRIDGE": stack.bridge_url,
            "CLAWBACK_EXECUTOR_TOKEN": stack.executor_token,
            "CLAWBACK_OPERATOR_TOKEN": stack.operator_token,
            "PYTHONPATH": str(ROOT),
        }

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def executor(self, *arguments: str, name: str = "") -> Service:
        name = name or arguments[0]
        command = [sys.executable, "-m", "bridge.cli", "executor", arguments[0], "--json", "--name", name]
        service = Service(name, [*command, *arguments[1:]], self.folder / f"{name}.log", self.environ)
        self._services.append(service)
        return service

    def clawback(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bridge.cli", *arguments],
            env={**os.environ, **self.environ},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def waiting_call(self) -> dict[str, Any]:
        """Wait until a call waits for a person."""

        def look() -> dict[str, Any] | None:
            headers = {"Authorization": f"Bearer {self._stack.operator_token}"}
            calls = httpx.get(f"{self._stack.bridge_url}/operator/v1/approvals", headers=headers).json()["calls"]
            return calls[0] if calls else None

        return wait_for(look)

    def events(self, run_id: str) -> list[tuple[str, str]]:
        headers = {"Authorization": f"Bearer {self._stack.operator_token}"}
        found = httpx.get(f"{self._stack.bridge_url}/operator/v1/runs/{run_id}/events", headers=headers).json()
        return [(event["actor"].split()[0], event["event"]) for event in found["events"]]

    def stop(self) -> None:
        for service in self._services:
            service.stop()


def slow_tool(folder: Path, seconds: str, answer: str) -> None:
    """Write `slowly.py`, whose tool takes so long; both are Python, and know by `begun` how often it began before."""
    (folder / "slowly.py").write_text(
        "import time\n"
        "from pathlib import Path\n"
        "from executor import tool\n"
        "@tool(read_only=True)\n"
        "def slowly(folder: str) -> str:\n"
        "    begun = len(list(Path(folder).glob('begun*')))\n"
        "    Path(folder, f'begun{begun}').touch()\n"
        f"    time.sleep({seconds})\n"
        f"    return {answer}\n"
    )


def wait_for[Found](look: Callable[[], Found | None]) -> Found:
    for _ in range(SECONDS * 20):
        found = look()
        if found is not None:
            return found
        threading.Event().wait(0.05)
    raise AssertionError("it never came")
