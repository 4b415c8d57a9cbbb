"""A chat with the Dify app whose tools take longer than its workflow waits: the answer lands in the conversation."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from demo.stack import Stack
from tests.e2e.conftest import call, export_with, upstream_log
from tests.e2e.executors import SECONDS, wait_for
from tests.e2e.flows import in_a_row, llm

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
}
TOOL["read_only"] = True


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("resuming")
    wait = {"callback_wait_seconds": 0}
    exports = {
        "minimal": export_with(folder, "minimal", **wait),
        "stopping": export_with(folder, "minimal", stop_after_tool_calls=True),
        "naming": export_with(folder, "minimal", callback_key="c:{{#sys.conversation_id#}}", **wait),
        "row": in_a_row(folder, "row", llm("first", "{{#sys.query#}}"), llm("second", "Then: {{#sys.query#}}", wait)),
        "changing": in_a_row(folder, "changing", llm("node", "{{#sys.query#}} {{#sys.workflow_run_id#}}", wait)),
    }
    with Stack(folder, apps=[], exports=exports) as running:
        yield running


class Person:
    """Someone who chats with an app through Dify's own API, and an executor that is slow."""

    def __init__(self, stack: Stack, app: str, user: str) -> None:
        self.stack, self.user = stack, user
        self._dify = {"Authorization": f"Bearer {stack.app_key(app)}"}
        self._bridge = {"Authorization": f"Bearer {stack.executor_token}"}
        answer = self._post("/executors", {"name": f"{user}'s", "tools": [TOOL]})
        self._executor = answer["executor_id"]

    def _post(self, path: str, body: Any) -> Any:
        url = f"{self.stack.bridge_url}/executor/v1{path}"
        return httpx.post(url, json=body, headers=self._bridge, timeout=SECONDS).raise_for_status().json()

    def say(self, *lines: str, **inputs: str) -> str:
        body = {"inputs": inputs, "query": "\n".join(lines), "user": self.user, "response_mode": "blocking"}
        url = f"{self.stack.dify_url}/chat-messages"
        return httpx.post(url, headers=self._dify, json=body, timeout=SECONDS).text

    def take(self) -> dict[str, Any]:
        """Take the next call."""
        (lease,) = self._post(f"/executors/{self._executor}/claim", {"max": 1, "wait": 20})["calls"]
        return dict(lease)

    def give(self, lease: dict[str, Any], output: str) -> None:
        result = {"lease_id": lease["lease_id"], "tool_call_id": lease["tool_call_id"], "output": output}
        self._post(f"/executors/{self._executor}/results", {"results": [result]})

    def leave(self) -> None:
        httpx.delete(f"{self.stack.bridge_url}/executor/v1/executors/{self._executor}", headers=self._bridge)

    def suspended(self, lease: dict[str, Any]) -> None:
        """Wait until the run of this call waits without a workflow."""
        store = self.stack.store()
        try:
            wait_for(lambda: True if (run := store.run(lease["run_id"])) and run.state == "suspended" else None)
        finally:
            store.close()

    def messages(self, count: int) -> list[dict[str, Any]]:
        """Wait until the newest conversation has so many messages, and return them."""

        def look() -> list[dict[str, Any]] | None:
            with httpx.Client(base_url=self.stack.dify_url, headers=self._dify, params={"user": self.user}) as client:
                (conversation, *_) = client.get("/conversations").json()["data"]
                found = client.get("/messages", params={"conversation_id": conversation["id"]}).json()["data"]
            return found if len(found) >= count and found[-1]["answer"] else None

        return wait_for(look)


@pytest.fixture
def make_person(stack: Stack) -> Iterator[Callable[..., Person]]:
    people: list[Person] = []

    def make(app: str) -> Person:
        people.append(Person(stack, app, f"person of {app}"))
        return people[-1]

    yield make
    for person in people:
        person.leave()


@pytest.mark.parametrize("app", ["minimal", "naming", "stopping"])
def test_the_answer_lands_in_the_conversation_when_the_results_come(
    app: str, stack: Stack, make_person: Callable[..., Person]
) -> None:
    person = make_person(app)
    person.say(f"Slowly in {app}.", call("look"), "!then", "!say I have seen it.")
    lease = person.take()
    person.suspended(lease)
    person.give(lease, "a view")
    first, second = person.messages(2)
    assert (first["query"], second["answer"]) == (second["query"], "I have seen it.")
    asked = upstream_log(stack, f"Slowly in {app}.")
    assert len(asked) == 2, "a finished round was asked for again"
    assert asked[1]["request"]["messages"][-1]["content"] == "a view"


def test_what_came_before_the_suspended_node_is_not_done_again(
    stack: Stack, make_person: Callable[..., Person]
) -> None:
    person = make_person("row")
    with ThreadPoolExecutor(1) as pool:
        said = pool.submit(person.say, "In a row.", call("look"), "!then", "!say seen")
        person.give(person.take(), "one")
        lease = person.take()
        said.result(SECONDS)
    person.suspended(lease)
    person.give(lease, "two")
    assert person.messages(2)[1]["answer"] == "seen + seen"
    assert len(upstream_log(stack, "In a row.")) == 4


def test_a_kill_of_the_bridge_between_the_results_and_the_resumption_loses_nothing(
    stack: Stack, make_person: Callable[..., Person]
) -> None:
    person = make_person("minimal")
    person.say("Killed.", call("look"), "!then", "!say Still seen.")
    lease = person.take()
    person.suspended(lease)
    person.give(lease, "a view")
    stack.bridge.kill()
    stack.bridge.start()
    assert person.messages(2)[-1]["answer"] == "Still seen."


def test_a_node_whose_prompt_changes_is_not_run_again_without_end(
    stack: Stack, make_person: Callable[..., Person]
) -> None:
    person = make_person("changing")
    person.say("Changing.", call("look"), "!then", "!say never")
    lease = person.take()
    person.suspended(lease)
    person.give(lease, "one")
    again = person.take()
    person.suspended(again)
    person.give(again, "two")
    store = stack.store()
    for run_id in (lease["run_id"], again["run_id"]):
        run = wait_for(lambda run_id=run_id: found if (found := store.run(run_id)) and found.error else None)  # type: ignore[misc]
        assert "not asked the same" in str(run.error)
    store.close()
    assert len(upstream_log(stack, "Changing.")) == 2
