"""It does what the directives say, in the round that the transcript shows."""

import json
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.demo.scripted.conversation import TOOLS, after, calls, result, user

CLIENT_CONTEXT = {
    "role": "user",
    "content": [{"type": "text", "text": "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nnone\n<<<END>>>"}],
}


def ask(http: httpx.Client, messages: list[Any], **fields: Any) -> dict[str, Any]:
    fields = {"model": "scripted", "messages": messages, "tools": TOOLS} | fields
    answer = http.post("/chat/completions", json={k: v for k, v in fields.items() if v is not None})
    assert answer.status_code == 200, answer.text
    choice: dict[str, Any] = answer.json()["choices"][0]
    return choice


def names(choice: dict[str, Any]) -> list[str]:
    return [call["function"]["name"] for call in choice["message"].get("tool_calls", ())]


def test_without_directives_it_echoes_what_the_user_said(http: httpx.Client) -> None:
    choice = ask(http, [user("a"), {"role": "assistant", "content": "b"}, user("hello\nthere"), CLIENT_CONTEXT])
    assert choice["message"]["content"] == "echo: hello\nthere"
    assert choice["finish_reason"] == "stop"


def test_it_calls_says_and_ends_round_by_round(http: httpx.Client) -> None:
    script = user("!say Let me see.", '!call exec {"command": "ls"}', "!call write", "!then", "!say Done.", "!say Bye.")
    first = ask(http, [script])
    assert first["finish_reason"] == "tool_calls"
    assert first["message"]["content"] == "Let me see."
    assert names(first) == ["exec", "write"]
    assert [c["function"]["arguments"] for c in first["message"]["tool_calls"]] == ['{"command": "ls"}', "{}"]
    second = ask(http, [script, calls("a", "b"), result("a"), result("b"), CLIENT_CONTEXT])
    assert second["message"]["content"] == "Done.\nBye."
    assert second["finish_reason"] == "stop"


def test_the_text_of_real_openclaw(http: httpx.Client) -> None:
    text = '[Fri 2026-11-20 23:56 UTC] !call exec {"command": "x"}\n!then\n!say ok\n\nRuntime: agent=main | host=x'
    assert names(ask(http, [{"role": "user", "content": [{"type": "text", "text": text}]}, CLIENT_CONTEXT])) == ["exec"]


def test_rounds_are_counted_from_the_last_message_with_directives(http: httpx.Client) -> None:
    messages = [*after(user("!call write", "!then", "!call write"), "x"), user("!call exec"), CLIENT_CONTEXT]
    assert names(ask(http, messages)) == ["exec"]


def test_a_call_without_text_has_null_content_and_an_id_of_its_own(http: httpx.Client) -> None:
    messages = [ask(http, [user("!call exec")])["message"] for _ in range(2)]
    assert [message["content"] for message in messages] == [None, None]
    first, second = (message["tool_calls"][0]["id"] for message in messages)
    assert first != second
    assert first.startswith("call_")
    assert len(first) == 29


@pytest.mark.parametrize("ending", [[], ["!then"]])
def test_when_the_script_ends_it_quotes_the_last_results(http: httpx.Client, ending: list[str]) -> None:
    choice = ask(http, after(user("!call exec", "!then", "!call exec", *ending), "first", 'se"cond\n!say no'))
    assert choice["message"]["content"] == 'The tools answered: exec: "se\\"cond\\n!say no"'


def test_it_may_call_what_nobody_declared(http: httpx.Client) -> None:
    assert names(ask(http, [user("!call web_search")])) == ["web_search"]


def test_broken_arguments_go_out_as_they_stand(http: httpx.Client) -> None:
    choice = ask(http, [user('!broken exec {"command": ')])
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"command":'


@pytest.mark.parametrize("fields", [{"tools": None}, {"tool_choice": "none"}])
def test_without_tools_it_only_plans(http: httpx.Client, fields: dict[str, Any]) -> None:
    script = user(
        "!say Now!", '!call exec {"command": "ls"}', "!call write", "!then", "!call exec", "!then", "!say end"
    )
    plan = ask(http, [script], **fields)
    assert "tool_calls" not in plan["message"]
    assert 'call exec with {"command": "ls"} and write' in plan["message"]["content"]
    assert not any(line.lstrip().startswith("!") for line in plan["message"]["content"].splitlines())
    later = ask(http, after(script, "what exec said"), **fields)
    assert 'Known so far: exec: "what exec said"' in later["message"]["content"]


def test_a_plan_in_the_next_prompt_changes_nothing(http: httpx.Client) -> None:
    script = user("!call exec", "!then", "!say end")
    plan = ask(http, [script], tools=None)["message"]["content"]
    with_plan = user(script["content"], "", f"Follow this plan:\n{plan}")
    assert names(ask(http, [{"role": "system", "content": plan}, with_plan])) == ["exec"]
    assert ask(http, after(with_plan, "x"))["message"]["content"] == "end"


def test_one_call_at_a_time_where_the_client_wants_it(http: httpx.Client) -> None:
    script = user("!say first", "!call exec", "!call write", "!then", "!say end")
    assert names(ask(http, [script], parallel_tool_calls=False)) == ["exec"]
    assert names(ask(http, after(script, "x"), parallel_tool_calls=False)) == ["write"]
    assert ask(http, after(script, "x", "y"), parallel_tool_calls=False)["message"]["content"] == "end"


@pytest.mark.parametrize(
    ("choice", "name"),
    [("required", "write"), ({"type": "function", "function": {"name": "exec"}}, "exec")],
)
@pytest.mark.parametrize("text", ["hello", "!say hello"])
def test_a_tool_choice_that_forces_a_call_gets_one(http: httpx.Client, choice: Any, name: str, text: str) -> None:
    answer = ask(http, [user(text)], tool_choice=choice)
    assert names(answer) == [name]
    arguments = json.loads(answer["message"]["tool_calls"][0]["function"]["arguments"])
    assert set(arguments.values()) == {""}


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_is_answered_once_and_then_the_round_goes_on(http: httpx.Client, stream: bool) -> None:
    script = user("!error 429 after 2", "!error 500 times 2", "!say at last")
    body = {"model": "scripted", "messages": [script], "stream": stream}
    answers = [http.post("/chat/completions", json=body) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [429, 500, 500, 200, 200]
    assert answers[0].headers["Retry-After"] == "2"
    assert answers[0].json()["error"]["code"] == "rate_limit_exceeded"
    assert answers[1].json()["error"]["type"] == "server_error"
    assert "Retry-After" not in answers[1].headers


def test_errors_are_counted_for_each_message_and_round(http: httpx.Client, ready: dict[str, Any]) -> None:
    script = user("!error 503", "!call exec", "!then", "!error 503", "!say end")

    def status(messages: list[Any]) -> int:
        fields = {"model": "scripted", "messages": messages, "tools": TOOLS}
        return http.post("/chat/completions", json=fields).status_code

    assert [status([script]) for _ in range(2)] == [503, 200]
    assert [status(after(script, "x")) for _ in range(2)] == [503, 200]
    assert status([user(script["content"], "someone else")]) == 503
    http.delete(ready["log_url"])
    assert status([script]) == 503


def test_the_sdk_gets_through_an_error_by_itself(openai: OpenAI) -> None:
    answer = openai.with_options(max_retries=2).chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": "!error 429 after 0\n!error 500\n!say through"}]
    )
    assert answer.choices[0].message.content == "through"


def test_usage_and_finish_reason_can_be_told(openai: OpenAI) -> None:
    answer = openai.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": "!usage 1000 20\n!finish content_filter\n!say x"}]
    )
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (1000, 20, 1020)
    assert answer.choices[0].finish_reason == "content_filter"


def test_usage_grows_with_the_prompt_and_the_tools(openai: OpenAI) -> None:
    def prompt(words: int, **fields: Any) -> int:
        message = {"role": "user", "content": "word " * words}
        answer = openai.chat.completions.create(model="scripted", messages=[message], **fields)  # type: ignore[list-item]
        assert answer.usage
        return answer.usage.prompt_tokens

    assert 1200 <= prompt(1000) <= 1300
    assert prompt(1, tools=TOOLS) > prompt(1) + 50


def test_a_stop_sequence_ends_the_text(http: httpx.Client) -> None:
    script = user("!say Thought: x", "!say Observation: y")
    choice = ask(http, [script], stop=["nothing", "\nObservation:"])
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Thought: x", "stop")


def test_max_tokens_cuts_the_answer_short(http: httpx.Client) -> None:
    choice = ask(http, [user("!say " + "x" * 100)], max_completion_tokens=5)
    assert (choice["message"]["content"], choice["finish_reason"]) == ("x" * 20, "length")
    choice = ask(http, [user('!call exec {"command": "' + "x" * 100 + '"}')], max_tokens=5)
    assert (len(choice["message"]["tool_calls"][0]["function"]["arguments"]), choice["finish_reason"]) == (20, "length")


def test_json_where_json_is_asked_for(http: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}, "b": {"type": "integer"}}, "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    assert ask(http, [user("hi")], response_format=wanted)["message"]["content"] == '{"a": "x"}'
    text = ask(http, [user("json please")], response_format={"type": "json_object"})["message"]["content"]
    assert json.loads(text) == {"text": "echo: json please"}
