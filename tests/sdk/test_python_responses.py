"""The official Python SDK: responses."""

import json
import time
from typing import Any

import openai
import pytest
from openai import pydantic_function_tool
from pydantic import BaseModel

from demo.stack import Stack
from tests.sdk.test_python_chat import MODEL, say, upstream

INNER = "input[0].tools[0].name"
READ: Any = {
    "type": "function",
    "name": "read",
    "description": "Read a file.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
        "additionalProperties": False,
    },
}


def task(*lines: str) -> str:
    (message,) = say(*lines)
    text: str = message["content"]
    return text


def test_an_answer(client: openai.OpenAI) -> None:
    response = client.responses.create(model=MODEL, input=task("!say Hello."))
    assert (response.status, response.output_text) == ("completed", "Hello.")
    assert response.usage
    assert response.usage.input_tokens > 0


def test_log_probabilities_are_those_of_the_upstream(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "include": ["message.output_text.logprobs"], "top_logprobs": 3}
    response = client.responses.create(input=task("!say Hi there."), **asked)
    with client.responses.stream(input=task("!say Hi there."), **asked) as stream:
        done = [event for event in stream if event.type == "response.output_text.done"]
        streamed = stream.get_final_response()
    for whole in (response, streamed):
        (part,) = [part for item in whole.output if item.type == "message" for part in item.content]
        assert part.type == "output_text"
        assert part.logprobs
        assert "".join(entry.token for entry in part.logprobs) == "Hi there."
        assert {entry.logprob < 0 and len(entry.top_logprobs) for entry in part.logprobs} == {3}
        assert (part.text, whole.top_logprobs) == ("Hi there.", 3)
    assert "".join(entry.token for event in done for entry in event.logprobs or ()) == "Hi there."


def test_a_round_of_calls_goes_on_in_the_same_run(client: openai.OpenAI) -> None:
    first = client.responses.with_raw_response.create(
        model=MODEL, input=task('!call read {"path": "a"}', '!call read {"path": "b"}', "!then"), tools=[READ]
    )
    asked = first.parse()
    calls = [item for item in asked.output if item.type == "function_call"]
    assert [json.loads(call.arguments)["path"] for call in calls] == ["a", "b"]
    outputs: Any = [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"text of {call.call_id}"} for call in calls
    ]
    second = client.responses.with_raw_response.create(
        model=MODEL, input=outputs, tools=[READ], previous_response_id=asked.id
    )
    assert second.headers["x-clawback-run"] == first.headers["x-clawback-run"]
    assert all(f"text of {call.call_id}" in second.parse().output_text for call in calls)


def test_a_result_belongs_to_the_previous_response_and_to_no_other_run(client: openai.OpenAI, stack: Stack) -> None:
    script = ('!call read {"path": "a"}', "!then", "!say mine")
    mine, others = (client.responses.create(model=MODEL, input=task(*script), tools=[READ]) for _ in range(2))
    [call], [foreign] = ([item for item in asked.output if item.type == "function_call"] for asked in (mine, others))
    output: Any = {"type": "function_call_output", "output": "x"}
    with pytest.raises(openai.BadRequestError, match=foreign.call_id) as caught:
        client.responses.create(
            model=MODEL, input=[output | {"call_id": foreign.call_id}], tools=[READ], previous_response_id=mine.id
        )
    assert (caught.value.code, caught.value.param) == ("unknown_tool_call_id", "input[0].call_id")
    both: Any = [output | {"call_id": call.call_id}, foreign.model_dump(), output | {"call_id": foreign.call_id}]
    for given, asked in ((both, mine), ([both[0] | {"call_id": foreign.call_id}], others)):
        went_on = client.responses.with_raw_response.create(
            model=MODEL, input=given, tools=[READ], previous_response_id=asked.id
        )
        assert went_on.parse().output_text == "mine"
        store = stack.store()
        try:
            (ticket,) = store.tickets_of_calls([(call if asked is mine else foreign).call_id])
        finally:
            store.close()
        assert went_on.headers["x-clawback-run"] == ticket.run_id


def test_the_whole_input_does_as_well_and_needs_no_store(client: openai.OpenAI) -> None:
    history: list[Any] = [{"role": "user", "content": task("!say Let me look.", '!call read {"path": "a"}', "!then")}]
    first = client.responses.create(model=MODEL, input=history, tools=[READ], store=False)
    assert [item.type for item in first.output] == ["message", "function_call"]
    history += first.output
    call = first.output[-1]
    assert call.type == "function_call"
    history.append({"type": "function_call_output", "call_id": call.call_id, "output": "alpha"})
    second = client.responses.create(model=MODEL, input=history, tools=[READ], store=False)
    assert second.output_text == 'The tools answered: read: "alpha"'
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(second.id)


def test_the_stream_helper_sees_every_event(client: openai.OpenAI) -> None:
    prompt = task("!say Let me look.", '!call read {"path": "a"}')
    with client.responses.stream(model=MODEL, input=prompt, tools=[READ]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert {
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
    } <= set(kinds)
    assert final.output_text == "Let me look."


class GetWeather(BaseModel):
    """Get the weather."""

    city: str
    days: int


def test_parse_reads_calls_as_pydantic_tools(client: openai.OpenAI) -> None:
    tool: Any = pydantic_function_tool(GetWeather)
    flat = {"type": "function", **tool["function"]}
    response = client.responses.parse(
        model=MODEL, input=task('!call GetWeather {"city": "Oslo", "days": 2}'), tools=[flat]
    )
    (call,) = [item for item in response.output if item.type == "function_call"]
    assert json.loads(call.arguments) == {"city": "Oslo", "days": 2}


class Report(BaseModel):
    """What the model is to answer."""

    text: str
    stars: int


def test_parse_reads_the_answer_as_a_pydantic_model(client: openai.OpenAI) -> None:
    response = client.responses.parse(model=MODEL, input=task("How was it?"), text_format=Report)
    assert isinstance(response.output_parsed, Report)


def test_a_loop_over_tools_runs_until_there_is_an_answer(client: openai.OpenAI) -> None:
    """Two rounds, streamed, each continued with nothing but the outputs and the former response's id."""
    asked, former, final = [], None, None
    given: Any = task('!call read {"path": "a"}', '!call read {"path": "b"}', "!then", '!call read {"path": "c"}')
    while final is None or any(item.type == "function_call" for item in final.output):
        with client.responses.stream(model=MODEL, input=given, tools=[READ], previous_response_id=former) as stream:
            stream.until_done()
            final = stream.get_final_response()
        calls = [item for item in final.output if item.type == "function_call"]
        asked += [json.loads(call.arguments)["path"] for call in calls]
        given = [{"type": "function_call_output", "call_id": call.call_id, "output": "text"} for call in calls]
        former = final.id
    assert asked == ["a", "b", "c"]
    assert final.status == "completed"
    assert 'read: "text"' in final.output_text


def test_a_conversation_goes_on_from_a_response(client: openai.OpenAI, stack: Stack) -> None:
    prompt = task("!say One.")
    first = client.responses.create(model=MODEL, input=prompt, instructions="Be brief.")
    second = client.responses.create(
        model=MODEL, input="And then?\n!say Two.", instructions="Be long.", previous_response_id=first.id
    )
    assert second.output_text == "Two."
    asked = upstream(stack, [{"content": prompt}])[-1]["messages"]
    texts = [message["content"] for message in asked]
    assert "One." in texts
    assert asked[0]["content"].endswith("Be long.")
    assert not any("Be brief." in text for text in texts)


def test_one_client_goes_on_where_another_began(client: openai.OpenAI) -> None:
    prompt = task('!call read {"path": "a"}', "!then")
    first = client.responses.create(model=MODEL, input=prompt, tools=[READ])
    (call,) = first.output
    assert call.type == "function_call"
    function = {"name": call.name, "arguments": call.arguments}
    second = client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "user", "content": prompt},
            {
                "role": "assistant",
                "tool_calls": [{"id": call.call_id, "type": "function", "function": function}],  # type: ignore[typeddict-item,list-item]
            },
            {"role": "tool", "tool_call_id": call.call_id, "content": "alpha"},
        ],
    )
    assert second.choices[0].message.content == 'The tools answered: read: "alpha"'


def test_a_response_is_kept_listed_and_forgotten(client: openai.OpenAI) -> None:
    response = client.responses.create(model=MODEL, input=task("!say Kept."), metadata={"a": "b"})
    again = client.responses.retrieve(response.id)
    assert again.model_dump() == response.model_dump()
    (item,) = client.responses.input_items.list(response.id).data
    assert item.type == "message"
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input=task(), previous_response_id=response.id)
    assert caught.value.code == "previous_response_not_found"


def test_a_background_response_goes_on_by_itself(client: openai.OpenAI) -> None:
    response = client.responses.create(model=MODEL, input=task("!sleep 1", "!say Late."), background=True)
    assert response.status == "in_progress"
    deadline = time.monotonic() + 20
    while response.status == "in_progress" and time.monotonic() < deadline:
        time.sleep(0.2)
        response = client.responses.retrieve(response.id)
    assert (response.status, response.output_text) == ("completed", "Late.")


def test_a_response_in_progress_can_be_cancelled(client: openai.OpenAI) -> None:
    response = client.responses.create(model=MODEL, input=task("!sleep 20", "!say Never."), background=True)
    assert client.responses.cancel(response.id).status == "cancelled"
    assert client.responses.retrieve(response.id).status == "cancelled"
    done = client.responses.create(model=MODEL, input=task("!say Done."))
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(done.id)


def test_a_stream_that_was_lost_goes_on_where_it_broke_off(client: openai.OpenAI) -> None:
    prompt = task("!say Let me look.", "!sleep 1", '!call read {"path": "a"}')
    first = []
    with client.responses.create(model=MODEL, input=prompt, tools=[READ], background=True, stream=True) as stream:
        for event in stream:
            first.append(event)
            if event.type == "response.output_text.delta":
                break
    created = first[0]
    assert created.type == "response.created"
    rest = list(client.responses.retrieve(created.response.id, stream=True, starting_after=first[-1].sequence_number))
    numbers = [event.sequence_number for event in [*first, *rest]]
    assert numbers == list(range(len(numbers)))
    kinds = [event.type for event in [*first, *rest]]
    assert kinds.count("response.function_call_arguments.done") == 1
    last = rest[-1]
    assert last.type == "response.completed"
    deltas = [event.delta for event in [*first, *rest] if event.type == "response.output_text.delta"]
    assert "".join(deltas) == last.response.output_text == "Let me look."
    again = list(client.responses.retrieve(created.response.id, stream=True))
    assert [event.type for event in again] == kinds


def test_an_answer_that_was_cut_off_is_incomplete(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model=MODEL, input=task("!finish length", "!say Half of"), stream=True))
    (done,) = [event.item for event in events if event.type == "response.output_item.done"]
    last = events[-1]
    assert last.type == "response.incomplete"
    response = last.response
    assert response.status == "incomplete"
    assert response.incomplete_details
    assert response.incomplete_details.reason == "max_output_tokens"
    (message,) = response.output
    for item in (done, message):
        assert item.type == "message"
        assert item.status == "incomplete"


def test_the_tokens_of_a_request_are_counted_without_a_run(client: openai.OpenAI) -> None:
    def count(**asked: Any) -> int:
        return client.responses.input_tokens.count(model=MODEL, **asked).input_tokens

    few = count(input="hi")
    assert 0 < few < count(input="hi " * 100)
    assert few < count(input="hi", instructions="Be brief.") < count(input="hi", instructions="Be brief.", tools=[READ])
    before = client.responses.create(model=MODEL, input=task("!say " + "words " * 100))
    assert count(input="hi", previous_response_id=before.id) > few + 100
    with pytest.raises(openai.NotFoundError):
        client.responses.input_tokens.count(model="none", input="hi")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": [{"type": "telepathy", "id": "x"}]}, "input"),
        ({"input": [{"type": 5, "role": "user", "content": "hi"}]}, "input[0].type"),
        ({"input": [{"type": "additional_tools", "tools": [{"type": "function", "name": "a b"}]}]}, INNER),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0].input_audio"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input[0].content[0]"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
        ({"tools": [{"name": "a"}]}, "tools[0].type"),
        ({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"input": []}, "input"),
        ({"text": {"format": {"type": "json_schema", "name": "a b", "schema": {}}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
        ({"input": [{"type": "function_call_output", "call_id": "x", "output": "y"}]}, "input"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"input": [{"type": "item_reference", "id": "msg_0"}]}, "input[0].id"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"background": True, "store": False}, "store"),
    ],
)
def test_what_is_refused_is_named(client: openai.OpenAI, fields: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**{"model": MODEL, "input": "hi", **fields})
    assert caught.value.param == param
    assert "_kind" not in caught.value.message, "it names a function of ours"


def test_outputs_that_are_missing_are_named_in_the_words_of_this_language(client: openai.OpenAI) -> None:
    asked = task('!call read {"path": "a"}', '!call read {"path": "b"}', "!then", "!say both")
    first = client.responses.create(model=MODEL, input=asked, tools=[READ])
    one, two = (item for item in first.output if item.type == "function_call")
    given: Any = [{"type": "function_call_output", "call_id": one.call_id, "output": "A"}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input=given, previous_response_id=first.id, tools=[READ])
    assert (caught.value.code, caught.value.param) == ("missing_tool_results", "input")
    assert all(word in caught.value.message for word in ("function_call_output", two.call_id))
    assert "tool message" not in caught.value.message


def test_a_transcript_without_words_of_the_user_is_refused_by_its_own_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="input holds no user message"):
        client.responses.create(model=MODEL, input=[{"role": "assistant", "content": "I am alone."}])


def test_items_can_be_given_by_reference(client: openai.OpenAI, stack: Stack) -> None:
    prompt = task("!say One.")
    first = client.responses.create(model=MODEL, input=prompt)
    reference: Any = {"type": "item_reference", "id": first.output[0].id}
    client.responses.create(
        model=MODEL, input=[{"role": "user", "content": prompt}, reference, {"role": "user", "content": "!say Two."}]
    )
    asked = upstream(stack, [{"content": prompt}])[-1]["messages"]
    assert "One." in [message["content"] for message in asked]
