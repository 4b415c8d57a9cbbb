"""One id leads from a client's response to the ticket and to the log."""

import httpx
import openai

from demo.stack import Stack
from tests.sdk.test_python_chat import MODEL, READ, say


def test_a_client_s_own_id_is_on_the_ticket(client: openai.OpenAI, stack: Stack) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=say('!call read {"path": "a"}'),
        tools=[READ],
        extra_headers={"X-Request-Id": "my-request-7"},
    )
    assert raw.headers["x-request-id"] == "my-request-7"
    [call] = raw.parse().choices[0].message.tool_calls or ()
    headers = {"Authorization": f"Bearer {stack.operator_token}"}
    tickets = httpx.get(f"{stack.bridge_url}/operator/v1/tickets", headers=headers).json()["tickets"]
    [ticket] = [ticket for ticket in tickets if call.id in [each["id"] for each in ticket["calls"]]]
    assert ticket["request_id"] == "my-request-7"
    shown = httpx.get(
        f"{stack.bridge_url}/executor/v1/tickets/{ticket['id']}",
        headers={"Authorization": f"Bearer {stack.executor_token}"},
    ).json()
    assert shown["request_id"] == "my-request-7"
    assert '"request_id": "my-request-7"' in stack.bridge.log.read_text()


def test_every_other_request_is_given_one(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model=MODEL, messages=say("!say Hi."))
    second = client.chat.completions.create(model=MODEL, messages=say("!say Hi."))
    assert first._request_id
    assert first._request_id.startswith("req_")
    assert first._request_id != second._request_id
