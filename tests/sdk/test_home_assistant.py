"""Home Assistant's Extended OpenAI Conversation, request by request as it sends them.

Source: github.com/jekalmin/extended_openai_conversation. Until 1.x it keeps its own transcript (`query` in
`__init__.py`) and speaks of functions, or of tools where `use_tools` is on; from 2.0 on (`entity.py`) it streams.
"""

import hashlib
import json
from typing import Any

import openai
import pytest

from demo.stack import Stack
from tests.sdk.test_python_chat import MODEL, say, upstream
from tools.ids import random_name

# The integration's own function, as its defaults define it.
EXECUTE_SERVICES: Any = {
    "name": "execute_services",
    "description": "Use this function to execute service of devices in Home Assistant.",
    "parameters": {
        "type": "object",
        "properties": {
            "list": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "domain": {"type": "string", "description": "The domain of the service"},
                        "service": {"type": "string", "description": "The service to be called"},
                        "service_data": {
                            "type": "object",
                            "description": "The service data object to indicate what to control.",
                            "properties": {
                                "entity_id": {
                                    "type": "string",
                                    "description": (
                                        "The entity_id retrieved from available devices. It must start with domain, "
                                        "followed by dot character."
                                    ),
                                }
                            },
                            "required": ["entity_id"],
                        },
                    },
                    "required": ["domain", "service", "service_data"],
                },
            }
        },
    },
}
SYSTEM = {
    "role": "system",
    "content": "I want you to act as smart home manager of Home Assistant.\nAvailable Devices:\n```csv\n"
    "entity_id,name,state,aliases\nlight.kitchen,Kitchen,off,\nfan.bath,Bath,on,\n```",
}
LIGHT = {"list": [{"domain": "light", "service": "turn_on", "service_data": {"entity_id": "light.kitchen"}}]}
FAN = {"list": [{"domain": "fan", "service": "turn_off", "service_data": {"entity_id": "fan.bath"}}]}
DONE = "[{'success': True}]"
LINES = [
    f"!call execute_services {json.dumps(LIGHT)}",
    f"!call execute_services {json.dumps(FAN)}",
    "!then",
    "!say All done.",
]


def old_query(conversation: str, messages: list[Any], **tools: Any) -> dict[str, Any]:
    return {
        "model": MODEL,
        "messages": messages,
        "max_tokens": 150,
        "top_p": 1,
        "temperature": 0.5,
        "user": conversation,
        **tools,
    }


def results_upstream(stack: Stack, messages: list[Any]) -> list[tuple[str, str]]:
    """What the model was told in the end: the arguments of each call, and its result."""
    asked = upstream(stack, messages[1:])[-1]["messages"]
    calls = {call["id"]: call["function"]["arguments"] for m in asked for call in m.get("tool_calls") or ()}
    return [(json.loads(calls[m["tool_call_id"]]), m["content"]) for m in asked if m["role"] == "tool"]


def test_functions_whose_answers_come_without_their_calls(client: openai.OpenAI, stack: Stack) -> None:
    messages = [SYSTEM, *say(*LINES)]
    conversation, asked = f"01{random_name(24).upper()}", []
    for _ in range(5):
        query = old_query(conversation, messages, functions=[EXECUTE_SERVICES], function_call="auto")
        choice = client.chat.completions.create(**query).choices[0]
        if choice.finish_reason != "function_call":
            break
        call = choice.message.function_call
        assert call
        asked.append(json.loads(call.arguments))
        # The integration appends the answer alone.
        messages.append({"role": "function", "name": call.name, "content": DONE})
    assert choice.finish_reason == "stop"
    assert choice.message.content == "All done."
    assert asked == [LIGHT, FAN]
    assert results_upstream(stack, messages) == [(LIGHT, DONE), (FAN, DONE)]
    messages.append(choice.message.model_dump(exclude_none=True))
    messages += say("!say And again.")
    query = old_query(conversation, messages, functions=[EXECUTE_SERVICES], function_call="none")
    assert client.chat.completions.create(**query).choices[0].message.content == "And again."


def test_tools_with_names_on_their_results(client: openai.OpenAI, stack: Stack) -> None:
    messages = [SYSTEM, {**say(*LINES)[0], "name": "3f1c0a5e8a34"}]
    conversation = f"01{random_name(24).upper()}"
    tools = {"tools": [{"type": "function", "function": EXECUTE_SERVICES}]}
    first = client.chat.completions.create(**old_query(conversation, messages, **tools, tool_choice="auto")).choices[0]
    assert first.finish_reason == "tool_calls"
    messages.append(first.message.model_dump(exclude_none=True))
    for call in first.message.tool_calls or ():
        messages.append({"tool_call_id": call.id, "role": "tool", "name": "execute_services", "content": DONE})
    second = client.chat.completions.create(**old_query(conversation, messages, **tools, tool_choice="none")).choices[0]
    assert (second.finish_reason, second.message.content) == ("stop", "All done.")
    assert results_upstream(stack, messages) == [(LIGHT, DONE), (FAN, DONE)]


@pytest.mark.parametrize("shorten", [False, True], ids=["ids as given", "ids shortened for Mistral"])
def test_streams_of_the_newer_integration(client: openai.OpenAI, stack: Stack, shorten: bool) -> None:
    messages = [SYSTEM, *say(*LINES)]
    tools: Any = [{"type": "function", "function": EXECUTE_SERVICES}]
    runs, texts = [], []
    for number in range(5):
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL,
            messages=messages,
            stream=True,
            stream_options={"include_usage": True},
            max_tokens=500,
            top_p=1,
            temperature=0.5,
            tools=tools,
            tool_choice="auto" if number < 3 else "none",
        )
        runs.append(raw.headers["x-clawback-run"])
        text, calls, usage = "", {}, None
        for chunk in raw.parse():
            if not chunk.choices:
                usage = chunk.usage
                continue
            delta = chunk.choices[0].delta
            text += delta.content or ""
            for piece in delta.tool_calls or ():
                call = calls.setdefault(piece.index, {"id": piece.id, "name": piece.function.name, "arguments": ""})
                call["arguments"] += piece.function.arguments or ""
        assert usage
        texts.append(text)
        if not calls:
            break
        entries = [
            {
                "id": hashlib.sha256(call["id"].encode()).hexdigest()[:9] if shorten else call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": json.dumps(json.loads(call["arguments"]))},
            }
            for call in calls.values()
        ]
        messages.append({"role": "assistant", **({"content": text} if text else {}), "tool_calls": entries})
        for entry in entries:
            messages.append({"role": "tool", "tool_call_id": entry["id"], "content": '{"result":"Success"}'})
    assert texts[-1] == "All done."
    assert len(set(runs)) == 1, "the workflow was run again"
    assert results_upstream(stack, messages) == [(LIGHT, '{"result":"Success"}'), (FAN, '{"result":"Success"}')]
