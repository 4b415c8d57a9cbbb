"""Arguments arrive while the model still writes them, and a call that was begun is never taken for whole."""

import json
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from demo.stack import Stack
from tests.sdk.test_python_chat import EXEC, MODEL, READ, say
from tests.sdk.test_python_responses import READ as FLAT_READ


def state_of(stack: Stack, messages: list[Any]) -> str:
    """Whether the upstream is still answering this conversation."""
    name = messages[0]["content"].partition("\n")[0]
    entries = [entry for entry in httpx.get(stack.log_url).json() if name in json.dumps(entry["request"])]
    state: str = entries[-1]["state"]
    return state


def test_chat_completions_show_a_call_before_the_next_one_is_written(client: openai.OpenAI, stack: Stack) -> None:
    messages = say('!call read {"path": "a"}', "!sleep 3", '!call exec {"command": "b"}')
    arguments, seen = {0: "", 1: ""}, ""
    stream = client.chat.completions.create(model=MODEL, messages=messages, tools=[READ, EXEC], stream=True)
    reasons = []
    for chunk in stream:
        for choice in chunk.choices:
            for call in choice.delta.tool_calls or ():
                assert call.function
                arguments[call.index] += call.function.arguments or ""
            reasons += [choice.finish_reason] if choice.finish_reason else []
        if not seen and arguments[0] == '{"path": "a"}':
            seen = state_of(stack, messages)
            assert not reasons
    assert seen == "answering"
    assert arguments[1] == '{"command": "b"}'
    assert reasons == ["tool_calls"]


def test_responses_show_a_call_before_the_next_one_is_written(client: openai.OpenAI, stack: Stack) -> None:
    messages = say('!call read {"path": "a"}', "!sleep 3", '!call read {"path": "b"}')
    seen, kinds = "", []
    with client.responses.stream(model=MODEL, input=messages[0]["content"], tools=[FLAT_READ]) as stream:
        for event in stream:
            kinds.append(event.type)
            if event.type == "response.function_call_arguments.delta" and not seen:
                seen = state_of(stack, messages)
    assert seen == "answering"
    assert kinds.count("response.function_call_arguments.done") == 2
    assert kinds[-1] == "response.completed"


def test_a_call_that_breaks_off_and_does_not_come_again_ends_in_an_error(client: openai.OpenAI) -> None:
    messages = say('!call read {"path": "a long name of a file"}', "!sleep 1", "!cut times 9")
    stream = client.chat.completions.create(model=MODEL, messages=messages, tools=[READ], stream=True)
    chunks: list[ChatCompletionChunk] = []
    with pytest.raises(openai.APIError):
        chunks.extend(stream)
    assert not any(choice.finish_reason for chunk in chunks for choice in chunk.choices)


def test_a_call_that_was_cut_off_goes_on_when_the_model_begins_alike(client: openai.OpenAI) -> None:
    messages = say('!call read {"path": "a"}', "!sleep 1", "!cut")
    with client.chat.completions.stream(model=MODEL, messages=messages, tools=[READ]) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls
    assert [call.function.arguments for call in calls] == ['{"path": "a"}']
