"""`clawback status`, `runs` and `tail` say what the bridge does, to whoever may know it."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from demo.client import Client
from demo.stack import Stack, free_port
from tests.bridge.operator.conftest import Clawback, read
from tests.e2e.conftest import call


def test_status_and_runs_tell_of_a_run_and_not_of_what_was_said(
    stack: Stack, client: Client, clawback: Clawback
) -> None:
    (stack.folder / "secret.txt").write_text("the secret")
    client.ask(f"Look.\n{call('read', path='secret.txt')}\n!then\n!say It is done.")
    status = read(clawback("status", "--json"))
    assert status["models"] == ["minimal"]
    assert status["runs"]["finished"] >= 1
    assert status["tickets"] == {"open": 0, "awaiting_approval": 0, "oldest_seconds": 0.0}
    assert status["dify_streams"] == [{"dify": stack.dify_url, "used": 0, "limit": 8, "waiting": 0}]
    answer = read(clawback("runs", "--json", "--limit", "1"))
    (run,) = answer["runs"]
    assert (run["state"], run["model"], run["tickets"], run["calls"]) == ("finished", "minimal", 1, 1)
    for said in ("secret", "Look", "It is done"):
        assert said not in json.dumps([status, answer])

    shown = clawback("status").stdout
    assert f"{stack.bridge_url}/v1" in shown
    assert "0 of 8 places taken" in shown
    table = clawback("runs").stdout
    assert run["id"] in table
    assert "No run is suspended." in clawback("runs", "--state", "suspended").stdout


def test_a_run_is_shown_whole_and_cancelled_by_its_id(stack: Stack, client: Client, clawback: Clawback) -> None:
    (stack.folder / "secret.txt").write_text("the secret")
    run = client.ask(f"Look once more.\n{call('read', path='secret.txt')}\n!then\n!say It is done.").runs[0]
    document = read(clawback("show", run, "--json"))
    assert document["run"]["state"] == "finished"
    assert [node["node_type"] for node in document["nodes"]] == ["start", "llm", "answer"]
    assert document["tickets"][0]["calls"][0]["name"] == "read"
    assert "the secret" not in json.dumps(document)
    shown = clawback("show", run).stdout
    assert f"{run} of minimal is finished" in shown
    assert "node Assistant (llm)" in shown
    assert clawback("show", "none").returncode == 1
    # To cancel is to decide, which takes the operator's token.
    assert "--token is missing" in clawback("cancel", run).stderr
    refused = clawback("cancel", run, "--token", stack.operator_token)
    assert "is finished already" in refused.stderr
    assert refused.returncode == 1


def whole_run(told: list[dict[str, str]]) -> str | None:
    """Return a run that was told of from its beginning to its end: one may be under way when the telling begins."""
    states: dict[str, list[str]] = {}
    for each in told:
        if each["what"] == "run":
            states.setdefault(each["id"], []).append(each["state"])
    return next((run for run, seen in states.items() if (seen[0], seen[-1]) == ("running", "finished")), None)


def test_tail_tells_each_step_as_it_happens(stack: Stack, client: Client) -> None:
    command = [sys.executable, "-m", "bridge.cli", "tail", "--json", "--for", "60"]
    command += ["--config", str(stack.folder / "clawback.toml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout
        # What it tells of first is what happened after it had begun.
        speaking = threading.Event()

        def speak() -> None:
            while not speaking.wait(0.5):
                client.ask(f"Again.\n{call('read', path='secret.txt')}\n!then\n!say Done.")

        (stack.folder / "secret.txt").write_text("the secret")
        thread = threading.Thread(target=speak)
        thread.start()
        told: list[dict[str, str]] = []
        first: str | None = None
        try:
            for line in tail.stdout:
                told.append(json.loads(line))
                if first := whole_run(told):
                    break
        finally:
            tail.terminate()
            speaking.set()
            thread.join(60)
    assert first
    steps = [(each["event"], each["tool"]) for each in told if each["what"] == "event" and each["run_id"] == first]
    assert ("resolve", "read") in steps
    assert ("settle", None) in steps
    assert "secret" not in json.dumps(told)


def test_who_may_watch(stack: Stack, clawback: Clawback, tmp_path: Path) -> None:
    url = f"{stack.bridge_url}/operator/v1/status"

    def status(token: str) -> int:
        return httpx.get(url, headers={"Authorization": f"Bearer {token}"}).status_code

    assert status(stack.operator_token) == 200
    assert [status(token) for token in (stack.client_token, stack.plugin_token, "none")] == [401, 401, 401]
    local = json.loads((stack.folder / "bridge" / "serving.json").read_text())["token"]
    assert status(local) == 200
    decided = httpx.post(
        f"{stack.bridge_url}/operator/v1/calls/x/approve", json={}, headers={"Authorization": f"Bearer {local}"}
    )
    assert decided.status_code == 401


def test_what_is_missing_is_said(stack: Stack, clawback: Clawback, tmp_path: Path) -> None:
    nowhere = tmp_path / "clawback.toml"
    nowhere.write_text(f'data_dir = "{tmp_path}"\n')
    no_bridge = clawback("status", "--config", str(nowhere))
    assert no_bridge.returncode == 1
    assert "no bridge runs here" in no_bridge.stderr
    assert "clawback serve" in no_bridge.stderr
    dead = clawback("runs", "--bridge", f"http://127.0.0.1:{free_port()}", "--token", "t")
    assert dead.returncode == 1
    assert "does not answer" in dead.stderr
    other = clawback("tail", "--bridge", "http://bridge.example")
    assert other.returncode == 2
    assert "--token is missing" in other.stderr
    wrong = clawback("status", "--token", "clawback-operator-wrong")
    assert wrong.returncode == 1
    assert "the operator token is not the right one" in wrong.stderr
    undecided = clawback("approve", "call1")
    assert undecided.returncode == 2
    assert "--renew operator" in undecided.stderr
    unknown = clawback("deny", "call1", "--token", stack.operator_token)
    assert unknown.returncode == 1
    assert "Traceback" not in unknown.stderr
    assert "there is no call call1" in unknown.stderr
    no_bridge_there = clawback("status", "--bridge", str(stack.upstream.base_url), "--token", "t")
    assert no_bridge_there.returncode == 1
    assert "Traceback" not in no_bridge_there.stderr


def test_the_address_for_clients_leads_to_the_bridge_too(stack: Stack, clawback: Clawback) -> None:
    token = ["--token", stack.operator_token]
    for end in ("/", "/v1", "/v1/"):
        assert read(clawback("status", "--json", "--bridge", f"{stack.bridge_url}{end}", *token))["models"]
        link = clawback("open", "--print", "--bridge", f"{stack.bridge_url}{end}", *token).stdout
        assert link.startswith(f"{stack.bridge_url}/login")


@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize("command", ["show", "approve", "deny", "answer --action yes", "cancel", "again", "logs"])
def test_an_empty_id_names_nothing(stack: Stack, client: Client, clawback: Clawback, command: str, blank: str) -> None:
    client.ask("!say Here is a run.")
    done = clawback(*command.split(), "--token", stack.operator_token, blank)
    assert done.returncode == 2
    assert "the id is empty" in done.stderr


def test_a_report_that_cannot_be_written_is_a_sentence(client: Client, clawback: Clawback, tmp_path: Path) -> None:
    client.ask("!say Here is a run.")
    run = read(clawback("runs", "--json", "--limit", "1"))["runs"][0]["id"]
    nowhere = tmp_path / "none" / "report.json"
    done = clawback("logs", run, "-o", str(nowhere))
    assert done.returncode == 1
    assert done.stderr == f"Error: {nowhere} cannot be used: No such file or directory\n"


def test_open_logs_a_browser_on_this_machine_in(clawback: Clawback, stack: Stack) -> None:
    assert "--token is missing" in clawback("open", "--print").stderr
    link = clawback("open", "--print", "--token", stack.operator_token).stdout.strip()
    assert httpx.get(link).headers["Location"] == "/"
    assert httpx.get(link).status_code == 401
