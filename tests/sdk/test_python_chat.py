"""The official Python SDK: chat completions."""

import json
import time
from typing import Any

import httpx
import openai
import pytest
from openai import pydantic_function_tool
from pydantic import BaseModel

from demo.stack import Stack
from tools.ids import random_name

MODEL = "minimal"
READ: Any = {
    "type": "function",
    "function": {
        "name": "read",
        "description": "Read a file.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string"}},
            "required": ["path"],
            "additionalProperties": False,
        },
    },
}
EXEC: Any = {"type": "function", "function": {"name": "exec", "parameters": {"type": "object", "properties": {}}}}


def say(*lines: str) -> list[Any]:
    """A user's message that no other test sends."""
    return [{"role": "user", "content": "\n".join([f"Task {random_name(8)}.", *lines])}]


def upstream(stack: Stack, messages: list[Any]) -> list[dict[str, Any]]:
    """What the upstream was asked in this conversation."""
    name = messages[0]["content"].partition("\n")[0]
    return [entry["request"] for entry in httpx.get(stack.log_url).json() if name in json.dumps(entry["request"])]


def test_an_answer(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(model=MODEL, messages=say("!say Hello."))
    assert completion.choices[0].message.content == "Hello."
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage
    assert completion.usage.prompt_tokens > 0
    assert completion._request_id


def test_a_round_of_parallel_calls(client: openai.OpenAI) -> None:
    messages = say('!call read {"path": "a"}', '!call read {"path": "b"}', "!then")
    first = client.chat.completions.create(model=MODEL, messages=messages, tools=[READ])
    calls = first.choices[0].message.tool_calls
    assert calls
    assert [json.loads(call.function.arguments)["path"] for call in calls if call.type == "function"] == ["a", "b"]
    messages.append(first.choices[0].message)
    messages += [{"role": "tool", "tool_call_id": call.id, "content": f"text of {call.id}"} for call in calls]
    second = client.chat.completions.create(model=MODEL, messages=messages, tools=[READ])
    assert second.choices[0].message.content
    assert all(f"text of {call.id}" in second.choices[0].message.content for call in calls)


def test_the_stream_helper_sees_every_event(client: openai.OpenAI) -> None:
    messages = say("!say Let me look.", '!call read {"path": "a"}')
    with client.chat.completions.stream(model=MODEL, messages=messages, tools=[READ]) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert {"tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds
    assert final.choices[0].message.content == "Let me look."
    calls = final.choices[0].message.tool_calls
    assert calls
    assert calls[0].function.parsed_arguments == {"path": "a"}


def test_log_probabilities_are_those_of_the_upstream(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model=MODEL, messages=say("!say Hi there."), logprobs=True, top_logprobs=3
    )
    with client.chat.completions.stream(
        model=MODEL, messages=say("!say Hi there."), logprobs=True, top_logprobs=3
    ) as stream:
        kinds = {event.type for event in stream}
        streamed = stream.get_final_completion()
    for choice in (completion.choices[0], streamed.choices[0]):
        assert choice.message.content == "Hi there."
        assert choice.logprobs
        tokens = choice.logprobs.content or []
        assert "".join(token.token for token in tokens) == "Hi there."
        assert {token.logprob < 0 and len(token.top_logprobs) for token in tokens} == {3}
    assert {"logprobs.content.delta", "logprobs.content.done"} <= kinds


def test_log_probabilities_are_left_out_where_nobody_asks_or_a_call_is_the_answer(client: openai.OpenAI) -> None:
    plain = client.chat.completions.create(model=MODEL, messages=say("!say Hi."))
    called = client.chat.completions.create(
        model=MODEL, messages=say("!say Let me look.", '!call read {"path": "a"}'), tools=[READ], logprobs=True
    )
    assert [plain.choices[0].logprobs, called.choices[0].logprobs] == [None, None]


class GetWeather(BaseModel):
    """Get the weather."""

    city: str
    days: int


def test_parse_reads_calls_as_pydantic_tools(client: openai.OpenAI) -> None:
    messages = say('!call GetWeather {"city": "Oslo", "days": 2}')
    completion = client.chat.completions.parse(
        model=MODEL, messages=messages, tools=[pydantic_function_tool(GetWeather)]
    )
    calls = completion.choices[0].message.tool_calls
    assert calls
    assert calls[0].function.parsed_arguments == GetWeather(city="Oslo", days=2)


def test_a_loop_over_tools_runs_until_there_is_an_answer(client: openai.OpenAI) -> None:
    """Three rounds, each streamed with the SDK's helper, each call parsed into its pydantic tool."""
    lines = [
        f'!call GetWeather {{"city": "{city}", "days": {days}}}\n!then' for days, city in enumerate(["Oslo", "Rome"])
    ]
    messages = say(*lines, '!call GetWeather {"city": "Bern", "days": 2}', "!then", "!say All sunny.")
    asked, runs, final = [], set(), None
    while final is None or final.choices[0].message.tool_calls:
        with client.chat.completions.stream(
            model=MODEL, messages=messages, tools=[pydantic_function_tool(GetWeather)]
        ) as stream:
            stream.until_done()
            runs.add(stream._response.headers["x-clawback-run"])
            final = stream.get_final_completion()
        messages.append(final.choices[0].message)
        for call in final.choices[0].message.tool_calls or ():
            weather = call.function.parsed_arguments
            assert isinstance(weather, GetWeather)
            asked.append((weather.city, weather.days))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": f"sunny in {weather.city}"})
    assert asked == [("Oslo", 0), ("Rome", 1), ("Bern", 2)]
    assert final.choices[0].message.content == "All sunny."
    assert len(runs) == 1


class Answer(BaseModel):
    """What the model is to answer."""

    text: str
    stars: int


def test_parse_reads_the_answer_as_a_pydantic_model(client: openai.OpenAI) -> None:
    completion = client.chat.completions.parse(model=MODEL, messages=say("How was it?"), response_format=Answer)
    assert isinstance(completion.choices[0].message.parsed, Answer)


def test_what_a_client_asks_of_the_model_reaches_the_upstream(client: openai.OpenAI, stack: Stack) -> None:
    messages = say("!say one END two")
    completion = client.chat.completions.create(
        model=MODEL, messages=messages, temperature=0.3, top_p=0.9, seed=7, stop=["END"], max_completion_tokens=100
    )
    assert completion.choices[0].message.content == "one "
    asked = upstream(stack, messages)[-1]
    assert (asked["temperature"], asked["top_p"], asked["seed"], asked["max_tokens"]) == (0.3, 0.9, 7, 100)


def test_an_answer_that_reaches_its_limit_says_so(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(model=MODEL, messages=say(f"!say {'word ' * 100}"), max_tokens=16)
    assert completion.choices[0].finish_reason == "length"


def test_a_limit_of_one_token_is_one(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(model=MODEL, messages=say("!say All of it."), max_completion_tokens=1)
    assert "All of it.".startswith(completion.choices[0].message.content or "")
    assert completion.choices[0].finish_reason == "length"


def test_usage_comes_in_a_chunk_of_its_own_when_asked_for(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=say("!say Hi."), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


def test_allowed_tools_are_all_that_the_model_is_offered(client: openai.OpenAI, stack: Stack) -> None:
    messages = say("!say Fine.")
    client.chat.completions.create(
        model=MODEL,
        messages=messages,
        tools=[READ, EXEC],
        tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [EXEC]}},
    )
    assert [tool["function"]["name"] for tool in upstream(stack, messages)[-1]["tools"]] == ["exec"]


def test_a_named_choice_and_strict_reach_the_upstream(client: openai.OpenAI, stack: Stack) -> None:
    messages = say("Read something.")
    choice: Any = {"type": "function", "function": {"name": "read"}}
    completion = client.chat.completions.create(model=MODEL, messages=messages, tools=[READ, EXEC], tool_choice=choice)
    assert completion.choices[0].finish_reason == "tool_calls"
    asked = upstream(stack, messages)[-1]
    assert asked["tool_choice"] == choice
    assert asked["tools"][0]["function"]["strict"] is True


def test_images_reach_the_model(client: openai.OpenAI, stack: Stack) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
    (message,) = say("!say I see.")
    mixed: Any = [{"role": "user", "content": [{"type": "text", "text": message["content"]}, image]}]
    client.chat.completions.create(model=MODEL, messages=mixed)
    assert image in upstream(stack, [message])[-1]["messages"][-1]["content"]


def test_a_client_of_functions_gets_one_function_call_at_a_time(client: openai.OpenAI, stack: Stack) -> None:
    services: Any = {"name": "execute_services", "parameters": {"type": "object"}}
    lights = {"list": [{"domain": "light", "service": "turn_on", "service_data": {"entity_id": "light.kitchen"}}]}
    fan = {"list": [{"domain": "fan", "service": "turn_off", "service_data": {"entity_id": "fan.bath"}}]}
    lines = [f"!call execute_services {json.dumps(lights)}", f"!call execute_services {json.dumps(fan)}", "!then"]
    messages = [{"role": "system", "content": "I want you to act as smart home manager."}, *say(*lines)]
    asked: list[Any] = []
    for _ in range(3):
        completion = client.chat.completions.create(
            model=MODEL,
            messages=messages,
            functions=[services],
            function_call="auto",
            max_tokens=150,
            top_p=1,
            temperature=0.5,
            user=f"conversation-{messages[1]['content'][:20]}",
        )
        choice = completion.choices[0]
        if choice.finish_reason == "stop":
            break
        assert choice.finish_reason == "function_call"
        assert choice.message.tool_calls is None
        call = choice.message.function_call
        assert call
        asked.append(json.loads(call.arguments))
        messages.append(choice.message.model_dump(exclude_none=True))
        messages.append({"role": "function", "name": call.name, "content": f"[{{'success': {len(asked)}}}]"})
    assert asked == [lights, fan]
    results = [m["content"] for m in upstream(stack, messages[1:])[-1]["messages"] if m["role"] == "tool"]
    assert results == ["[{'success': 1}]", "[{'success': 2}]"]


def test_a_function_call_is_streamed(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=say('!call read {"path": "a"}'),
        functions=[READ["function"]],
        stream=True,
    )
    arguments, reason = "", None
    for chunk in stream:
        for choice in chunk.choices:
            reason = choice.finish_reason or reason
            if choice.delta.function_call:
                arguments += choice.delta.function_call.arguments or ""
    assert (json.loads(arguments), reason) == ({"path": "a"}, "function_call")


def test_results_beside_the_transcript_resume_the_run(client: openai.OpenAI) -> None:
    messages = say('!call read {"path": "a"}', "!then")
    first = client.chat.completions.create(model=MODEL, messages=messages, tools=[READ])
    calls = first.choices[0].message.tool_calls
    assert calls
    results = [{"tool_call_id": calls[0].id, "output": "alpha", "is_error": False}]
    second = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[READ], extra_body={"tool_results": results}
    )
    assert second.choices[0].message.content == 'The tools answered: read: "alpha"'


def test_results_alone_are_enough(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model=MODEL, messages=say('!call read {"path": "a"}', "!then"), tools=[READ])
    calls = first.choices[0].message.tool_calls
    assert calls
    results = [{"tool_call_id": calls[0].id, "output": "alpha"}]
    second = client.chat.completions.create(model=MODEL, messages=[], extra_body={"tool_results": results})
    assert second.choices[0].message.content == 'The tools answered: read: "alpha"'


def test_results_of_calls_that_nobody_made_are_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=say(), extra_body={"tool_results": [{"tool_call_id": "call0", "output": "x"}]}
        )
    assert caught.value.code == "unknown_tool_call_id"


def test_calls_as_text_are_the_whole_answer_and_their_results_find_home(client: openai.OpenAI) -> None:
    messages = say("!say Let me look.", '!call read {"path": "a"}', "!then")
    extra = {"tool_call_mode": "openclaw_text"}
    first = client.chat.completions.create(model=MODEL, messages=messages, tools=[READ], extra_body=extra)
    assert first.choices[0].finish_reason == "stop"
    assert first.choices[0].message.content == '[read]\n{"path": "a"}\n[END_TOOL_REQUEST]'
    own_id = "call0123456789abcdef01234567"
    function = {"name": "read", "arguments": '{"path":"a"}'}
    messages.append(
        {"role": "assistant", "content": None, "tool_calls": [{"id": own_id, "type": "function", "function": function}]}
    )
    messages.append({"role": "tool", "tool_call_id": own_id, "content": "alpha"})
    second = client.chat.completions.create(model=MODEL, messages=messages, tools=[READ], extra_body=extra)
    assert second.choices[0].message.content == 'The tools answered: read: "alpha"'


def test_what_is_refused_is_an_error_of_the_sdk_with_its_param(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=say(), temperature=3)
    assert (caught.value.param, caught.value.type) == ("temperature", "invalid_request_error")
    assert caught.value.request_id
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="no-such-app", messages=say())
    assert missing.value.code == "model_not_found"


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["minimal"]
    assert client.models.retrieve("minimal").owned_by == "dify"


def test_the_same_words_with_other_tools_are_not_the_turn_that_someone_left(
    client: openai.OpenAI, stack: Stack
) -> None:
    messages = say("!sleep 4", "!say Late.")
    seen = stack.bridge.log.read_text().count("the client went away")
    with httpx.stream(
        "POST",
        f"{stack.base_url}/chat/completions",
        json={"model": MODEL, "messages": messages, "stream": True},
        headers={"Authorization": f"Bearer {stack.client_token}"},
        timeout=20,
    ) as left:
        assert left.status_code == 200
    deadline = time.monotonic() + 20
    while stack.bridge.log.read_text().count("the client went away") == seen:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    other = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages, tools=[READ])
    assert other.headers["x-clawback-run"] != left.headers["x-clawback-run"]
