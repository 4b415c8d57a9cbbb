"""A chatflow's Human Input nodes: a person answers their forms, and the run goes on."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge import cli
from demo.client import session_headers
from demo.stack import Stack
from tests.e2e.conftest import upstream_log
from tests.e2e.flows import NOTE, SIZE, flow, form, llm, say

SECONDS = 30.0
QUICK = {"keepalive_seconds": 0.5, "grace_seconds": 1, "sweep_seconds": 0.5}
ASKS = "Publish {{#draft.text#}}? {{#$output.note#}}"


def review(folder: Path, **options: Any) -> Path:
    """A draft, a form, and another model call with what the person wrote."""
    nodes = [
        llm("draft", "{{#sys.query#}}"),
        form("review", ASKS, NOTE, SIZE, **options),
        llm("final", "!say Published {{#draft.text#}}, {{#review.size#}}: {{#review.note#}}"),
        say("told", "{{#final.text#}}"),
        say("stopped", "not published"),
        say("late", "nobody looked at it"),
    ]
    ways = ("review.yes final", "final told", "review.no stopped", "review.__timeout late")
    return flow(folder / f"review{len(list(folder.iterdir()))}.yml", nodes, "start draft", "draft review", *ways)


def twice(folder: Path) -> Path:
    """Two forms, one after the other."""
    nodes = [form("first", "One?"), form("second", "Two?", NOTE), say("told", "both: {{#second.note#}}")]
    return flow(folder / "twice.yml", nodes, "start first", "first.yes second", "second.yes told")


def side_by_side(folder: Path) -> Path:
    """Two forms at the same time."""
    nodes = [form("left", "Left?"), form("right", "Right?"), say("told", "both")]
    return flow(folder / "both.yml", nodes, "start left", "start right", "left.yes told", "right.yes told")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("forms")
    exports = {"review": review(folder), "twice": twice(folder), "both": side_by_side(folder)}
    with Stack(folder, apps=[], exports=exports, bridge_settings=QUICK) as running:
        yield running


class Asking(threading.Thread):
    """A client that waits for its answer."""

    def __init__(self, stack: Stack, text: str, *, model: str = "review", session: str | None = None) -> None:
        super().__init__(daemon=True)
        self.body = {"model": model, "messages": [{"role": "user", "content": text}]}
        self.headers = {"Authorization": f"Bearer {stack.client_token}", **session_headers(session or text)}
        self.url = f"{stack.base_url}/chat/completions"
        self.status, self.answer = 0, {}
        self.start()

    def run(self) -> None:
        response = httpx.post(self.url, json=self.body, headers=self.headers, timeout=SECONDS * 2)
        self.status, self.answer = response.status_code, response.json()

    @property
    def text(self) -> str:
        self.join(SECONDS)
        assert self.status == 200, self.answer
        return str(self.answer["choices"][0]["message"]["content"])

    @property
    def error(self) -> dict[str, Any]:
        self.join(SECONDS)
        assert self.status >= 400, self.answer
        return dict(self.answer["error"])


def operator(stack: Stack, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {stack.operator_token}"}
    return httpx.request(method, f"{stack.bridge_url}/operator/v1{path}", headers=headers, timeout=SECONDS, **options)


def until[Found](look: Callable[[], Found | None]) -> Found:
    end = time.monotonic() + SECONDS
    while not (found := look()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return found


def waiting(stack: Stack, title: str, asks: str = "") -> dict[str, Any]:
    """Wait for a form of this title, whose text holds this."""

    def look() -> dict[str, Any] | None:
        forms = operator(stack, "GET", "/forms").json()["forms"]
        return next((each for each in forms if each["title"] == title and asks in each["content"]), None)

    return until(look)


def answer(stack: Stack, waits: dict[str, Any], action: str = "yes", **inputs: str) -> httpx.Response:
    body = {"by": "ada", "action": action, "inputs": inputs}
    return operator(stack, "POST", f"/forms/{waits['id']}/answer", json=body)


def in_dify(stack: Stack, form_id: str) -> dict[str, Any]:
    """Return what the box knows of a form."""
    forms = httpx.get(f"{stack.box_url}/box/state").json()["forms"]
    return next(each for each in forms if each["form_id"] == form_id)


def command(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    config = str(stack.folder / "clawback.toml")
    environ = {"CLAWBACK_OPERATOR_TOKEN": stack.operator_token, "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-m", cli.__name__, *arguments, "--config", config],
        env=environ,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def test_the_run_goes_on_in_the_same_response(stack: Stack) -> None:
    client = Asking(stack, "!say alpha")
    waits = waiting(stack, "Review", "alpha")
    assert waits["content"].startswith("Publish alpha?")
    assert [each["name"] for each in waits["fields"]] == ["note", "size"]
    assert [each["id"] for each in waits["actions"]] == ["yes", "no"]
    assert answer(stack, waits, note="be kind", size="large").status_code == 200
    assert client.text == "Published alpha, large: be kind"
    assert in_dify(stack, waits["id"])["inputs"] == {"note": "be kind", "size": "large"}
    asked = upstream_log(stack, "alpha")
    assert len(asked) == 2, "each model call is made once"


def test_the_other_button_goes_the_other_way(stack: Stack) -> None:
    client = Asking(stack, "!say beta")
    answer(stack, waiting(stack, "Review", "beta"), "no", size="small")
    assert client.text == "not published"
