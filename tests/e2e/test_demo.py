"""`clawback demo` does what its help says."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from demo.stack import EXAMPLES


def demo(tmp_path: Path, *options: str, seconds: float = 100) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bridge.cli", "demo", *options],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def check(result: dict[str, Any], client: str) -> None:
    assert result["ok"] is True
    assert result["client"] == client
    assert result["engine"].startswith("graphon ")
    assert result["plugin"]["sdk"]
    assert result["http_requests"] == 4
    (run,) = result["runs"]
    assert (run["workflow_runs"], run["rounds"], run["finish_reason"]) == (1, 3, "stop")
    assert [made["name"] for made in run["tool_calls"]] == ["read", "read", "exec", "read"]
    assert "send the invoice" in run["tool_calls"][-1]["output"]
    assert "send the invoice" in run["answer"]
    assert run["usage"]["total_tokens"] == run["usage"]["prompt_tokens"] + run["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("app", EXAMPLES)
def test_json_tells_what_happened(app: str, tmp_path: Path) -> None:
    done = demo(tmp_path, "--json", "--app", app)
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout), "builtin")
    assert list(tmp_path.iterdir()) == [], "it did not clean up"


def check_places(result: dict[str, Any]) -> None:
    (run,) = result["runs"]
    assert (result["ok"], run["workflow_runs"], run["rounds"]) == (True, 1, 3)
    assert [(made["name"], made["ran_at"]) for made in run["tool_calls"]] == [
        ("read", "client"),
        ("read", "client"),
        ("web_search", "dify"),
        ("battery", "laptop"),
        ("compose", "dify"),
        ("write", "client"),
    ]
    outputs = [made["output"] for made in run["tool_calls"]]
    assert "buy coffee" in outputs[0]
    assert outputs[2] == "A search for plumber: plumbers are free on Wednesdays."
    assert outputs[4].startswith("Dear Ann, still open: call the plumber")


def test_json_tells_where_each_call_of_mixed_tools_ran(tmp_path: Path) -> None:
    done = demo(tmp_path, "--json", "--app", "tools")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    check_places(result)
    assert result["http_requests"] == 3
    assert list(tmp_path.iterdir()) == [], "it did not clean up"


def test_the_story_of_mixed_tools_names_who_ran_what(tmp_path: Path) -> None:
    done = demo(tmp_path, "--app", "tools")
    assert done.returncode == 0, done.stderr
    assert "6 tool calls (3 by the client, 2 by dify, 1 by laptop)" in done.stdout
    for step in ("bridge → dify", "bridge → laptop", "ran write here"):
        assert step in " ".join(done.stdout.split())


@pytest.mark.openclaw
@pytest.mark.timeout(240)
def test_the_real_openclaw_s_turn_mixes_tools_of_three_places(tmp_path: Path) -> None:
    done = demo(tmp_path, "--json", "--app", "tools", "--client", "openclaw", seconds=200)
    assert done.returncode == 0, done.stderr
    check_places(json.loads(done.stdout))


@pytest.mark.openclaw
@pytest.mark.timeout(240)
def test_the_real_openclaw_plays_the_same_task(tmp_path: Path) -> None:
    done = demo(tmp_path, "--json", "--client", "openclaw")
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout), "openclaw")


def test_the_story_names_who_sends_what_to_whom_in_order(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stderr
    steps = [
        "client → bridge",
        "bridge → Dify",
        "attach: an LLM node",
        "2 messages, 3 tools",
        "bridge → client",
        "ran read here",
    ]
    positions = [done.stdout.index(step) for step in steps]
    assert positions == sorted(positions)
    assert "1 Dify workflow run" in done.stdout


@pytest.mark.parametrize(
    ("end", "status"),
    [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 128 + signal.SIGHUP)],
)
def test_keep_prints_where_everything_is_and_ends_with_all_parts(
    tmp_path: Path, end: signal.Signals, status: int
) -> None:
    kept = subprocess.Popen(
        [sys.executable, "-m", "bridge.cli", "demo", "--keep"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert kept.stdout
        where = json.loads(kept.stdout.readline())
        assert {"page_url", "login_url", "operator_token", "executor_token", "app_key"} <= set(where)
        with OpenAI(base_url=where["base_url"], api_key=where["api_key"]) as client:
            assert [model.id for model in client.models.list()] == where["models"] == [*EXAMPLES, "impatient"]
            said = client.chat.completions.create(model="minimal", messages=[{"role": "user", "content": "Hello."}])
        check_what_there_is_to_see(where)
        assert said.choices[0].message.content == "echo: Hello."
    finally:
        kept.send_signal(end)
        kept.communicate(timeout=60)
    assert kept.returncode == status
    deadline = time.monotonic() + 10
    while True:
        try:
            httpx.get(where["bridge_url"] + "/healthz")
        except httpx.HTTPError:
            break
        assert time.monotonic() < deadline, "the bridge outlived the demo"
        time.sleep(0.1)
    assert list(tmp_path.iterdir()) == []


def check_what_there_is_to_see(where: dict[str, Any]) -> None:
    """Three runs, and a link that shows them to a browser on this machine, once."""
    with httpx.Client(follow_redirects=True) as browser:
        page = browser.get(where["login_url"]).text
        assert browser.get(where["page_url"]).status_code == 200
        assert "waits for you" in page
        assert "Three points are still open." in browser.get(f"{where['page_url']}approvals").text
    assert httpx.get(where["login_url"]).status_code == 401
    asked = {"Authorization": f"Bearer {where['operator_token']}"}
    runs = httpx.get(f"{where['bridge_url']}/operator/v1/runs", headers=asked).json()["runs"]
    assert {"running", "suspended", "finished"} <= {run["state"] for run in runs}
    answer = httpx.get(f"{where['dify_url']}/info", headers={"Authorization": f"Bearer {where['app_key']}"})
    assert answer.status_code == 200


def test_a_real_upstream_needs_a_model(tmp_path: Path) -> None:
    done = demo(tmp_path, "--upstream", "http://127.0.0.1:9/v1")
    assert done.returncode == 2
    assert "--model" in done.stderr
