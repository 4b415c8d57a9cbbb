"""Anthropic's SDK for Python: whole, streamed, helpers, tools, counts, models, errors. Prints what came of it as JSON.

Whatever comes is held against the SDK's own types, strictly: the SDK itself takes anything.
"""

import json
import os
from pathlib import Path
from typing import Any

import anthropic
from anthropic import Anthropic, beta_tool
from anthropic.tools import BetaLocalFilesystemMemoryTool
from pydantic import BaseModel

OWN_FIELDS = {"clawback"}
MODEL_FIELDS = {
    *("object", "created", "owned_by", "description", "context_window", "max_output_tokens", "kind", "inputs"),
    "input_modalities",
    "opening_statement",
    "suggested_questions",
}
READ: Any = {"name": "read", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}
SEARCH: Any = {"type": "web_search_20250305", "name": "web_search"}
told: dict[str, Any] = {}
base_url = os.environ["CLAWBACK_BASE_URL"].removesuffix("/v1")
client = Anthropic(base_url=base_url, api_key=os.environ["CLAWBACK_API_KEY"], max_retries=0)


def strictly(value: BaseModel, own: set[str] = OWN_FIELDS) -> None:
    """Fail unless `value` is what its type says, and has no field beyond it but our own."""
    type(value).model_validate_json(value.model_dump_json(exclude_unset=True), strict=True)
    assert set(value.model_extra or {}) <= own, value.model_extra


def say(*lines: str) -> Any:
    return [{"role": "user", "content": "\n".join([f"Task {os.urandom(4).hex()}", *lines])}]


answer = client.messages.create(model="minimal", max_tokens=500, messages=say("!say Hello."), system="Be brief.")
strictly(answer)
told["answer"] = [answer.content[0].text, answer.stop_reason, answer.usage.input_tokens > 0, bool(answer._request_id)]

messages = say("!say Let me look.", '!call read {"path": "a"}', '!call read {"path": "b"}', "!then", "!say All read.")
asked: Any = {"model": "minimal", "max_tokens": 500, "tools": [READ, SEARCH]}
with client.messages.stream(messages=messages, **asked) as stream:
    kinds = []
    for event in stream:
        strictly(event)
        kinds.append(event.type)
    message = stream.get_final_message()
strictly(message)
calls = [block for block in message.content if block.type == "tool_use"]
told["streamed"] = ["".join(stream_text.text for stream_text in message.content if stream_text.type == "text")]
told["streamed"] += [[call.input for call in calls], message.stop_reason, kinds[0], kinds[-1]]
told["note"] = getattr(message, "clawback", None)

results: Any = [{"type": "tool_result", "tool_use_id": call.id, "content": "x"} for call in reversed(calls)]
messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
told["after results"] = client.messages.create(messages=messages, **asked).content[0].text

ran = []


@beta_tool
def weather(city: str) -> str:
    """Look up the weather.

    Args:
        city: The city.
    """
    ran.append(city)
    return f"sunny in {city}"


runner = client.beta.messages.tool_runner(
    model="minimal",
    max_tokens=500,
    tools=[weather],
    messages=say('!call weather {"city": "Oslo"}', '!call weather {"city": "Rome"}', "!then", "!say Sunny."),
)
told["ran"] = [runner.until_done().content[0].text, ran]

made: Any = {"command": "create", "path": "/memories/a.txt", "file_text": "Kept."}
runner = client.beta.messages.tool_runner(
    model="minimal",
    max_tokens=500,
    tools=[BetaLocalFilesystemMemoryTool(".")],
    messages=say(f"!call memory {json.dumps(made)}", "!then", "!say Remembered."),
)
told["remembered"] = [runner.until_done().content[0].text, Path("memories/a.txt").read_text()]

told["counted"] = client.messages.count_tokens(model="minimal", messages=say("words " * 100)).input_tokens > 100
models = list(client.models.list())
for model in models:
    strictly(model, MODEL_FIELDS)
told["models"] = ["minimal" in [model.id for model in models], client.models.retrieve("minimal").display_name]

ids = [model.id for model in models]
pages = [client.models.list(limit=1), client.models.list(limit=1, before_id=ids[-1])]
told["pages"] = [ids, [model.id for model in client.models.list(limit=1)]]
told["pages"] += [[[model.id for model in page.data], page.has_more] for page in pages]

told["errors"] = []
for use in (
    lambda: client.messages.create(model="none", max_tokens=5, messages=say("x")),
    lambda: client.messages.create(model="minimal", max_tokens=0, messages=say("x")),
    lambda: Anthropic(base_url=base_url, api_key="x", max_retries=2).messages.create(
        model="minimal", max_tokens=5, messages=say("x")
    ),
):
    try:
        use()
    except anthropic.APIStatusError as error:
        told["errors"].append([type(error).__name__, error.type])

print(json.dumps(told))  # noqa: T201 - what the test reads
