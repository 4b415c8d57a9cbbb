"""A bridge without a server, and the parties that talk to it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from bridge.app import create_app
from bridge.config import Config, parse
from bridge.runs.core import Core
from bridge.runs.sweeper import Sweeper
from bridge.store.store import Store
from tools.ids import new_tool_call_id, random_name
from tools.tokens import hash_token, new_token

READ = {"type": "function", "function": {"name": "read", "description": "reads"}, "read_only": True}
EXEC = {"type": "function", "function": {"name": "exec", "description": "runs"}}


@dataclass
class Answer:
    status: int
    body: dict[str, Any]

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"])


@dataclass
class Bridge:
    """A running application; each audience has its own way in."""

    app: Flask
    config: Config
    tokens: dict[str, str]
    user: str = "user-uuid"
    opened: int = 0
    last_attach: dict[str, Any] = field(default_factory=dict)

    def ask(self, audience: str, method: str, path: str, body: object = None) -> Answer:
        headers = {"Authorization": f"Bearer {self.tokens[audience]}"}
        response = self.app.test_client().open(f"/{audience}/v1{path}", method=method, headers=headers, json=body)
        return Answer(response.status_code, response.get_json(silent=True) or {})

    @property
    def store(self) -> Store:
        return self.core.store

    @property
    def core(self) -> Core:
        core: Core = self.app.extensions["clawback"]
        return core

    def later(self, seconds: float) -> None:
        """Do what the sweeper does when so much time has passed."""
        sweeper: Sweeper = self.app.extensions["clawback"].sweeper
        sweeper.sweep(time.time() + seconds)

    def stop(self) -> None:
        self.app.extensions["clawback"].sweeper.stop()
        self.store.close()

    def register(self, name: str = "laptop", tools: list[Any] | None = None, **more: Any) -> "Executor":
        body = {"name": name, "tools": [READ, EXEC] if tools is None else tools, **more}
        answer = self.ask("executor", "POST", "/executors", body)
        assert answer.status == 200, answer.body
        return Executor(self, answer.body["executor_id"])

    def attach(self, fingerprint: str = "f1", **more: Any) -> dict[str, Any]:
        body = {"invocation_id": random_name(), "fingerprint": fingerprint, "model": "main", "user": self.user, **more}
        self.last_attach = self.ask("plugin", "POST", "/attach", body).body | {"invocation_id": body["invocation_id"]}
        return self.last_attach

    def open(self, *calls: tuple[str, str], attached: dict[str, Any] | None = None) -> "Ticket":
        """Open a ticket, as an invocation that has attached does."""
        attached = attached or self.attach()
        made = [{"id": new_tool_call_id(), "name": name, "arguments": arguments} for name, arguments in calls]
        self.opened += 1
        request = {
            "run_id": attached["run_id"],
            "invocation_id": attached["invocation_id"],
            "round": self.opened,
            "calls": made,
        }
        ticket_id = f"{attached['invocation_id']}r{self.opened}"
        answer = self.ask("plugin", "PUT", f"/tickets/{ticket_id}", request)
        assert answer.status == 200, answer.body
        return Ticket(self, ticket_id, request, [call["id"] for call in made])


@dataclass
class Ticket:
    """A ticket as the plugin sees it."""

    bridge: Bridge
    id: str
    request: dict[str, Any]
    calls: list[str]

    def status(self, wait: float = 0) -> dict[str, Any]:
        return self.bridge.ask("plugin", "GET", f"/tickets/{self.id}?wait={wait}").body

    def again(self) -> dict[str, Any]:
        return self.bridge.ask("plugin", "PUT", f"/tickets/{self.id}", self.request).body

    def events(self) -> list[tuple[str, str, str]]:
        return [(event.actor, event.event, event.after) for event in self.bridge.store.events(self.id)]


@dataclass
class Executor:
    """A registered executor."""

    bridge: Bridge
    id: str

    def ask(self, what: str, body: object) -> Answer:
        return self.bridge.ask("executor", "POST", f"/executors/{self.id}/{what}", body)

    def claim(self, most: int = 10, wait: float = 0) -> list[dict[str, Any]]:
        answer = self.ask("claim", {"max": most, "wait": wait})
        assert answer.status == 200, answer.body
        calls: list[dict[str, Any]] = answer.body["calls"]
        return calls

    def post(self, call: dict[str, Any], output: object, **more: Any) -> Answer:
        result = {"lease_id": call["lease_id"], "tool_call_id": call["tool_call_id"], "output": output, **more}
        return self.ask("results", {"results": [result]})

    def leave(self) -> None:
        self.bridge.ask("executor", "DELETE", f"/executors/{self.id}")


MakeBridge = Callable[..., Bridge]


@pytest.fixture
def make_bridge(data_dir: Path) -> Iterator[MakeBridge]:
    """Start bridges on the same data folder, with a policy and limits of one's own."""
    tokens = {audience: new_token(audience) for audience in ("client", "plugin", "executor", "operator")}
    hashes = {audience: hash_token(token) for audience, token in tokens.items()}
    made: list[Bridge] = []

    def make(policy: str | None = None, *, log_content: bool = False, **limits: Any) -> Bridge:
        values: dict[str, Any] = {"data_dir": str(data_dir), "tokens": hashes, "limits": limits}
        if policy is not None:
            (data_dir / "policy.toml").write_text(policy)
            values["policy"] = str(data_dir / "policy.toml")
        config = parse(values | {"log_content": log_content})
        made.append(Bridge(create_app(config), config, tokens))
        return made[-1]

    yield make
    for bridge in made:
        bridge.stop()


@pytest.fixture
def bridge(make_bridge: MakeBridge) -> Bridge:
    """A bridge that lets every call run."""
    return make_bridge('[[rules]]\naction = "allow"\n')
