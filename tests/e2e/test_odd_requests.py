"""Whatever arrives is answered as the OpenAPI document says: schemathesis drives a running bridge by it.

`CLAWBACK_ODD_REQUESTS=500` tries so many examples of each operation instead of a few.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, checks
from schemathesis.core.parameters import ParameterLocation

from bridge.store.rows import ClientRow
from demo.stack import Stack
from tools.tokens import hash_token, new_token

EXAMPLES = int(os.environ.get("CLAWBACK_ODD_REQUESTS", "8"))
LONGEST_POLL = 0.05
MCP_TOKEN = new_token("mcp")

# Among these are a method that is not there, a token that is missing, and a body of another type than was asked for.
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
    checks.allow_header_conformance,
    checks.ignored_auth,
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that gives up on absent clients at once."""
    limits = {"keepalive_seconds": 0.5, "grace_seconds": 0.1, "first_event_seconds": 0.2, "dify_streams": 100}
    with Stack(tmp_path_factory.mktemp("odd"), apps=["minimal"], bridge_settings=limits) as running:
        with closing(running.store()) as store:
            # The executors that come here run nothing, and a call of theirs would be waited for.
            store.clients.add(ClientRow("odd", hash_token(MCP_TOKEN), "[]", 0, kind="mcp", tools="[]"))
        yield running


@pytest.fixture(scope="module", autouse=True)
def waiting(stack: Stack) -> list[dict[str, Any]]:
    """The transcript of a client whose tool runs during the storm."""
    asked = {"role": "user", "content": '!call read {"path": "a"}\n!then'}
    return [asked, say(stack, [asked])]


@pytest.fixture(scope="module")
def described(stack: Stack) -> Any:
    return schemathesis.openapi.from_url(f"{stack.bridge_url}/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_each_operation_answers_as_it_is_described(mode: GenerationMode, described: Any, stack: Stack) -> None:
    problems: list[Exception] = []
    # That one has no end.
    for found in described.exclude(tag="page").exclude(operation_id="mcp_listen").get_all_operations():
        operation = found.ok()
        try:
            drive(operation, mode, stack)
        except Unsatisfiable:
            # Nothing can be wrong with a request in which there is nothing.
            assert not operation.definition.raw.get("security")
        except Exception as error:
            error.add_note(operation.label)
            problems.append(error)
    if problems:
        raise ExceptionGroup(f"{len(problems)} operations do not answer as they are described", problems)


def drive(operation: Any, mode: GenerationMode, stack: Stack) -> None:
    headers = token(stack, operation)

    @given(operation.as_strategy(generation_mode=mode))
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def ask(case: Any) -> None:
        if mode is GenerationMode.POSITIVE:
            make_likely(case)
        answer = case.call(base_url=stack.bridge_url, headers=headers, timeout=20)
        if answer.status_code >= 500:
            # Documented, and in words: nothing that failed by accident.
            error = answer.json()["error"]
            assert answer.status_code in {502, 503, 504}, error
            assert error["message"]
            assert error["code"]
        # A query may hold what nobody asked for, as OpenAI's may.
        refused = [checks.negative_data_rejection] if has_wrong_body(case) else []
        case.validate_response(answer, checks=[*CHECKS, *refused])

    ask()


def make_likely(case: Any) -> None:
    """Let half of what could be a run become one, and no poll be a long one."""
    if isinstance(case.query, dict) and "wait" in case.query:
        case.query["wait"] = LONGEST_POLL
    if isinstance(case.body, dict) and "model" in case.body and len(str(case.body)) % 2:
        case.body["model"] = "minimal"
        case.body.pop("modalities", None)
        if "messages" in case.body:
            case.body["messages"] = [{"role": "user", "content": "Say something odd."}]
            case.body.pop("tool_results", None)


def has_wrong_body(case: Any) -> bool:
    body = case.meta.components.get(ParameterLocation.BODY)
    return bool(body and body.mode is GenerationMode.NEGATIVE)


def token(stack: Stack, operation: Any) -> dict[str, str]:
    """The token that the operation asks for."""
    tokens = {
        "client": stack.client_token,
        "plugin": stack.plugin_token,
        "executor": stack.executor_token,
        "operator": stack.operator_token,
        "mcp": MCP_TOKEN,
    }
    wanted = [name for scheme in operation.definition.raw.get("security", []) for name in scheme if name in tokens]
    return {"Authorization": f"Bearer {tokens[wanted[0]]}"} if wanted else {}


def test_afterwards_it_is_ready_and_the_ticket_is_still_there(stack: Stack, waiting: list[dict[str, Any]]) -> None:
    assert httpx.get(f"{stack.bridge_url}/readyz").json() == {"status": "ready"}
    [call] = waiting[-1]["tool_calls"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "it was a storm"}
    assert "it was a storm" in say(stack, [*waiting, result])["content"]


def say(stack: Stack, messages: list[dict[str, Any]]) -> dict[str, Any]:
    tool = {"type": "function", "function": {"name": "read"}}
    answer = httpx.post(
        f"{stack.base_url}/chat/completions",
        json={"model": "minimal", "messages": messages, "tools": [tool]},
        headers={"Authorization": f"Bearer {stack.client_token}"},
        timeout=60,
    )
    message: dict[str, Any] = answer.json()["choices"][0]["message"]
    return message
