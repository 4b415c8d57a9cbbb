"""Somebody tries an app on the page, and runs a client's run once more: executors run the calls."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from demo.client import Client
from demo.local_tools import LocalTools
from demo.stack import Stack
from tests.bridge.executor.conftest import MakeBridge
from tests.e2e.conftest import call
from tests.e2e.executors import SECONDS, Machine
from tests.page.conftest import MakePerson, form_token, words

pytestmark = pytest.mark.parts


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("trials"), apps=["minimal"], bridge_keys={"log_content": True}) as running:
        yield running


@pytest.fixture(scope="module")
def machine(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(stack, tmp_path_factory.mktemp("machine")) as machine:
        machine.executor("python", "tests.bridge.executors.notes")
        yield machine


@pytest.fixture(scope="module")
def browser(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.bridge_url, headers={"Origin": stack.bridge_url}, timeout=SECONDS) as browser:
        browser.post("/login", data={"token": stack.operator_token, "name": "ann"})
        yield browser


def send(browser: httpx.Client, page: str, action: str, **form: str | list[str]) -> str:
    """Fill in a form, and return where that leads."""
    answer = browser.post(action, data={"form_token": form_token(browser.get(page).text, action), **form})
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"]


def answers(browser: httpx.Client, trial: str) -> list[str]:
    """Wait until a chat's answer is complete, and return what it said so far."""
    end = time.monotonic() + SECONDS
    while 'class="state running"' in (page := browser.get(trial).text):
        assert time.monotonic() < end, page
        time.sleep(0.2)
    return re.findall(r'<pre class="said">(.*?)</pre>', page)


def test_an_app_is_tried_with_the_executors_tools_and_remembers(browser: httpx.Client, machine: Machine) -> None:
    assert "shout" in words(browser.get("/try").text)
    lines = ["Shout it.", call("shout", text="hello"), "!then", "!say It was HELLO."]
    trial = send(browser, "/try", "/try", app="minimal", text="\n".join(lines))
    assert answers(browser, trial) == ["It was HELLO."]
    page = browser.get(trial).text
    run = re.search(r'href="/runs/(\w+)"', page)
    assert run
    said = words(browser.get(f"/runs/{run[1]}").text)
    assert "shout done" in said
    assert "tried here" in words(browser.get("/").text)
    number = re.search(r'name="trial" value="(\w+)"', page)
    assert number
    again = send(browser, trial, "/try", trial=number[1], text="!say Again.")
    assert again == trial
    assert answers(browser, trial) == ["It was HELLO.", "Again."]


def test_a_clients_run_is_run_again_and_its_calls_ask_anew(
    stack: Stack, browser: httpx.Client, machine: Machine, tmp_path: Path
) -> None:
    path = tmp_path / "again.txt"
    client = Client(stack.base_url, stack.client_token, "minimal", LocalTools(tmp_path), session="again")
    lines = ["Write it down.", call("note", path=str(path), text="x"), "!then", "!say Written."]
    # The client has no such tool; the executors have.
    run = client.ask("\n".join(lines)).runs[0]
    client.close()
    assert not path.exists()
    trial = send(browser, f"/runs/{run}", "/runs", run=run, do="again")
    waiting = machine.waiting_call()
    assert waiting["name"] == "note"
    card = words(browser.get("/approvals").text)
    assert "rerun of" in card
    assert machine.clawback("approve", waiting["id"]).returncode == 0
    assert answers(browser, trial) == ["Written."]
    assert path.read_text() == "x"
    of_rerun = browser.get(f"/runs/{waiting['run_id']}").text
    assert f'href="/runs/{run}"' in of_rerun
    # The command does the same.
    done = machine.clawback("again", run[:8])
    assert f"{run} is done again: {stack.bridge_url}/try/" in done.stdout
    machine.clawback("deny", machine.waiting_call()["id"])
    assert answers(browser, done.stdout.split()[-1].removeprefix(stack.bridge_url)) == ["Written."]
    # So does the list, with several. What has no words to be asked again is left out.
    assert send(browser, "/", "/runs", run=[run, waiting["run_id"]], do="again", back="/?page=1") == "/?page=1"
    machine.clawback("deny", machine.waiting_call()["id"])
    assert browser.get("/").text.count("rerun of") == 3
    done = machine.clawback("cancel", run, "none")
    assert done.returncode == 1
    assert "is finished already: there is nothing to cancel" in done.stderr
    assert "2 of 2 were refused" in done.stderr


def test_what_cannot_be_done_is_said(make_bridge: MakeBridge, visit: MakePerson) -> None:
    bridge = make_bridge('[[rules]]\naction = "ask"\n')
    bridge.register()
    run = str(bridge.attach()["run_id"])
    ann = visit(bridge)
    for form, status in (({"app": "none", "text": "x"}, 404), ({"trial": "none", "text": "x"}, 404)):
        assert ann.send("/try", "/try", **form).status_code == status
    assert ann.post("/try", {"app": "assistant", "text": "x"}).status_code == 403
    answer = bridge.ask("operator", "POST", f"/runs/{run}/again", {})
    assert (answer.status, answer.code) == (400, "not_repeatable")
    assert bridge.ask("operator", "POST", "/runs/none/again", {}).code == "run_not_found"
    assert 'value="again"' not in ann.get(f"/runs/{run}").text


def test_a_run_done_again_shows_no_content_where_that_is_hidden(tmp_path: Path) -> None:
    with Stack(tmp_path, apps=["minimal"]) as stack, httpx.Client(timeout=SECONDS) as browser:
        client = Client(stack.base_url, stack.client_token, "minimal", LocalTools(tmp_path), session="hidden")
        run = client.ask("My secret.\n!say Your secret.").runs[0]
        client.close()
        browser.base_url, browser.headers["Origin"] = httpx.URL(stack.bridge_url), stack.bridge_url
        browser.post("/login", data={"token": stack.operator_token, "name": "ann"})
        trial = send(browser, f"/runs/{run}", "/runs", run=run, do="again")
        assert answers(browser, trial) == []
        page = browser.get(trial).text
        assert "secret" not in page
        assert words(page).count("characters · hidden") == 2
        number = re.search(r'name="trial" value="(\w+)"', page)
        assert number
        send(browser, trial, "/try", trial=number[1], text="!say Again.")
        assert answers(browser, trial) == []
        assert "!say Again." in browser.get(trial).text, "who is at the page has said that"
