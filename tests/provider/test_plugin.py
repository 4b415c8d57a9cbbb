"""The real plugin process over stdio, the real scripted upstream, and a bridge over real HTTP."""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from demo.box.errors import DaemonError
from demo.scripted.text_formats import FORMATS
from tests.provider.bridge_server import Bridge, serving, wait_until
from tests.provider.conftest import KEY, Dify, run_of, started_plugin

Log = Callable[[], list[dict[str, Any]]]

ROUNDS = '!say Let me look.\n!call read {"path": "a"}\n!call exec {"cmd": "ls"}\n!then\n!say All done.\n!delta 4'


# Callbacks off


def test_a_plain_node_streams_and_never_talks_to_the_bridge(dify: Dify, bridge: Bridge, log: Log) -> None:
    told = dify.invoke("!say Hello, world.\n!delta 3", model_parameters={"temperature": 0.3, "max_tokens": 50})
    assert told.text == "Hello, world."
    assert len(told.chunks) > 3
    assert [chunk["usage"] is not None for chunk in told.chunks].count(True) == 1
    assert (told.last["finish_reason"], told.last["message"]["content"]) == ("stop", "")
    assert told.last["usage"]["total_tokens"] > 0
    request = log()[-1]["request"]
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("scripted", 0.3, 50)
    assert bridge.paths == []


def test_without_streaming_there_is_one_whole_chunk(dify: Dify) -> None:
    told = dify.invoke("!say Hello, world.\n!delta 3", stream=False)
    assert (len(told.chunks), told.text) == (1, "Hello, world.")
    assert told.last["usage"]["total_tokens"] > 0


@pytest.mark.parametrize(
    ("model", "credentials", "asked"),
    [
        ("main", {}, "scripted"),
        ("light", {}, "scripted"),
        ("light", {"upstream_model_light": "scripted-light"}, "scripted-light"),
        ("scripted-light", {"upstream_model": ""}, "scripted-light"),
        ("my own name", {"upstream_model": "scripted-light"}, "scripted-light"),
    ],
)
def test_which_upstream_model_is_asked(
    dify: Dify, log: Log, model: str, credentials: dict[str, str], asked: str
) -> None:
    dify.credentials |= credentials
    assert dify.invoke("!say x", model=model).text == "x"
    assert log()[-1]["request"]["model"] == asked


def test_reasoning_is_shown_in_a_think_block(dify: Dify) -> None:
    dify.credentials["upstream_model"] = "scripted-reasoning"
    text = dify.invoke("!say 42").text
    assert text.startswith("<think>\n")
    assert text.endswith("\n</think>\n\n42")
    assert text.count("think>") == 2


def test_an_agent_node_s_tools_and_calls_go_through(dify: Dify) -> None:
    tool = {"name": "lookup", "description": "Looks up.", "parameters": {"type": "object", "properties": {}}}
    parameters = {"external_tool_callback_enabled": True}
    first = dify.invoke('!call lookup {"q": "x"}\n!then\n!say Found.', tools=[tool], model_parameters=parameters)
    assert [(call["name"], json.loads(call["arguments"])) for call in first.calls] == [("lookup", {"q": "x"})]
    call = first.last["message"]["tool_calls"][0]
    prompt = [
        {"role": "user", "content": '!call lookup {"q": "x"}\n!then\n!say Found.'},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "it", "tool_call_id": call["id"]},
    ]
    assert dify.invoke(prompt, tools=[tool]).text == "Found."


def test_images_go_along(dify: Dify, log: Log) -> None:
    image = {"type": "image", "format": "png", "base64_data": "aGk=", "url": "", "mime_type": "image/png"}
    dify.invoke([{"role": "user", "content": [{"type": "text", "data": "!say ok"}, image]}])
    part = log()[-1]["request"]["messages"][0]["content"][1]
    assert part == {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}}


def test_a_json_schema_is_sent_as_one(dify: Dify, log: Log) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    dify.invoke("!say {}", model_parameters={"response_format": "json_schema", "json_schema": json.dumps(schema)})
    assert log()[-1]["request"]["response_format"]["json_schema"]["schema"] == schema


def test_a_marker_never_reaches_the_upstream(dify: Dify, log: Log) -> None:
    dify.invoke("!say ok\nhello [[clawback:run12345678]]")
    assert "clawback" not in json.dumps(log()[-1]["request"])


# Errors


@pytest.mark.parametrize(
    ("script", "error", "text"),
    [
        ("!error 400", "InvokeBadRequestError", "answered 400"),
        ("!error 401", "InvokeBadRequestError", "answered 401"),
        ("!error 403", "InvokeBadRequestError", "Check upstream_api_key"),
        ("!error 404", "InvokeBadRequestError", "upstream_base_url"),
        ("!error 429 times 9 after 500", "InvokeRateLimitError", "429"),
        ("!say Half\n!cut times 9", "InvokeConnectionError", "broke off"),
        ("!say Half\n!error 500", "InvokeServerUnavailableError", "500"),
    ],
)
def test_the_sdk_s_typed_errors(dify: Dify, script: str, error: str, text: str) -> None:
    told = dify.invoke(f"{script}\n!say x")
    assert told.error
    assert told.error[0] == error
    assert text in told.error[1]


def test_a_prompt_that_is_too_long_is_recognised(dify: Dify) -> None:
    dify.credentials["upstream_model"] = "scripted-small-context"
    told = dify.invoke("word " * 30_000)
    assert told.error
    assert told.error[0] == "InvokeBadRequestError"
    assert "context_length_exceeded" in told.error[1]


def test_an_upstream_that_is_not_there(dify: Dify) -> None:
    dify.credentials["upstream_base_url"] = "http://127.0.0.1:9/v1"
    told = dify.invoke("x")
    assert told.error
    assert told.error[0] == "InvokeConnectionError"
    assert "host.docker.internal" in told.error[1]


@pytest.mark.parametrize("script", ["!error 429", "!error 500\n!error 503", '!call read {"a": 1}\n!cut'])
def test_what_passes_is_tried_again(dify: Dify, bridge: Bridge, script: str) -> None:
    text = f"{script}\n!say Then." if "call" not in script else script
    bridge.answers["user1"] = run_of(text, "read")
    running = dify.start(text)
    if "call" in script:
        bridge.settle(bridge.wait_ticket(), outputs=["A"])
    assert running.end().error is None


def test_the_secrets_are_in_no_error(dify: Dify) -> None:
    dify.credentials |= {"upstream_api_key": "sk-wrong-0123456789", "bridge_url": "nonsense"}
    for told in (dify.invoke("x"), dify.start("x").end()):
        assert told.error
        assert "sk-wrong" not in told.whole_error
        assert dify.credentials["bridge_token"] not in told.whole_error


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"external_tool_callback_enabled": True}, "bridge_url"),
        ({"max_tool_call_rounds": 0}, "max_tool_call_rounds"),
        ({"response_format": "json_schema", "json_schema": "{"}, "json_schema"),
    ],
)
def test_a_wrong_setting_is_named(dify: Dify, parameters: dict[str, Any], named: str) -> None:
    dify.credentials |= {"bridge_url": "", "bridge_token": ""}
    told = dify.invoke("x", model_parameters=parameters)
    assert told.error
    assert told.error[0] == "InvokeBadRequestError"
    assert named in told.error[1]


def test_a_text_setting_that_dify_took_for_a_number_is_text_again(dify: Dify, bridge: Bridge) -> None:
    dify.start("!say x", model_parameters={"callback_key": 4711}).end()
    assert bridge.attached[0].callback_key == "4711"


# Callbacks on


def test_a_turn_of_two_parallel_calls(dify: Dify, bridge: Bridge, log: Log) -> None:
    bridge.answers["user1"] = run_of(ROUNDS, "read", "exec")
    running = dify.start(ROUNDS)
    ticket = bridge.wait_ticket()
    request = ticket.request
    assert [(call.name, json.loads(call.arguments)) for call in request.calls] == [
        ("read", {"path": "a"}),
        ("exec", {"cmd": "ls"}),
    ]
    assert (request.content, request.streamed_text) == ("Let me look.", True)
    wait_until(lambda: running.told.chunks and running.told.chunks[-1]["message"]["content"] == "")
    bridge.settle(ticket, outputs=["A", "B"])
    told = running.end()

    assert told.text == "Let me look.All done."
    assert (
        sum(chunk["message"]["content"] == "" for chunk in told.chunks) == 3
    )  # behind the text, behind the ticket, and the end
    messages = log()[-1]["request"]["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant", "tool", "tool"]
    assert [m["content"] for m in messages[2:]] == ["A", "B"]
    [(invocation_id, record)] = bridge.records
    assert invocation_id == request.invocation_id == bridge.attached[0].invocation_id
    assert (record.text, record.rounds) == ("All done.", 1)
    assert record.total_usage.total_tokens == told.last["usage"]["total_tokens"]
    assert bridge.attached[0].app_id == "app1"


def test_a_call_of_no_run_is_a_plain_one(dify: Dify, bridge: Bridge) -> None:
    assert dify.start("!say Hello.").end().text == "Hello."
    assert bridge.paths == ["POST /plugin/v1/attach"]


def test_the_bridge_may_restart_while_a_ticket_is_open(dify: Dify, bridge: Bridge) -> None:
    with serving(Bridge()) as first:
        first.answers["user1"] = run_of(ROUNDS, "read", "exec")
        dify.credentials["bridge_url"] = first.url
        running = dify.start(ROUNDS)
        ticket = first.wait_ticket()
    port = int(first.url.rpartition(":")[2])
    with serving(first, port):
        first.settle(ticket, outputs=["A", "B"])
        assert running.end().text.endswith("All done.")
    assert len(first.tickets) == 1


def test_a_bridge_that_fails_for_a_moment_loses_no_ticket(dify: Dify, bridge: Bridge) -> None:
    bridge.answers["user1"] = run_of('!call read {"path": "a"}\n!then\n!say Done.', "read")
    bridge.failing = [503, 500]
    running = dify.start('!call read {"path": "a"}\n!then\n!say Done.')
    bridge.settle(bridge.wait_ticket(), outputs=["A"])
    assert running.end().text == "Done."


def test_the_run_is_suspended_and_its_second_try_goes_on(dify: Dify, bridge: Bridge) -> None:
    script = '!call read {"path": "a"}\n!then\n!say Done.'
    bridge.answers["user1"] = run = run_of(script, "read")
    told = dify.start(script, model_parameters={"callback_wait_seconds": 0}).end()
    ticket = bridge.wait_ticket()
    assert told.error
    assert told.error[0] == "InvokeServerUnavailableError"
    assert "suspended" in told.error[1]
    assert ticket.suspended
    assert bridge.records[0][1].error

    left = {"ticket_id": ticket.status.ticket_id, "calls": ticket.request.calls}
    bridge.answers["user1"] = run.model_validate({**run.model_dump(), "open_ticket": left}, from_attributes=True)
    running = dify.start(script)
    wait_until(lambda: len(bridge.attached) == 2)
    bridge.settle(ticket, outputs=["A"])
    assert running.end().text == "Done."
    assert bridge.attached[0].fingerprint != bridge.attached[1].fingerprint  # another callback_wait_seconds
    assert bridge.attached[0].invocation_id != bridge.attached[1].invocation_id


def test_the_daemon_s_time_limit_ends_the_wait_before_the_daemon_does(
    dify: Dify, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUGIN_MAX_EXECUTION_TIMEOUT", "4")
    bridge.answers["user1"] = run_of(ROUNDS, "read", "exec")
    with started_plugin() as hasty:
        told = replace(dify, plugin=hasty).start(ROUNDS).end()
    assert told.error
    assert "suspended" in told.error[1]
    assert bridge.wait_ticket().suspended


@pytest.mark.parametrize(("state", "error"), [("cancelled", "InvokeBadRequestError"), ("expired", None)])
def test_a_ticket_that_gets_no_results(dify: Dify, bridge: Bridge, state: Any, error: str | None) -> None:
    bridge.answers["user1"] = run_of('!call read {"path": "a"}\n!then\n!say I could not.', "read")
    running = dify.start('!call read {"path": "a"}\n!then\n!say I could not.')
    bridge.settle(bridge.wait_ticket(), state, reason="the client went away")
    told = running.end()
    assert (told.error and told.error[0]) == error
    assert "the client went away" in told.error[1] if told.error else told.text == "I could not."


def test_a_broken_call_comes_back_to_the_model(dify: Dify, bridge: Bridge, log: Log) -> None:
    script = '!broken read {"path\n!then\n!say Sorry.'
    bridge.answers["user1"] = run_of(script, "read")
    assert dify.start(script).end().text == "Sorry."
    assert "not valid JSON" in log()[-1]["request"]["messages"][-1]["content"]
    assert not bridge.tickets


def test_the_round_limit_ends_in_an_answer(dify: Dify, bridge: Bridge, log: Log) -> None:
    script = "\n!then\n".join(["!call read {}"] * 2 + ["!say That is all."])
    bridge.answers["user1"] = run_of(script, "read")
    running = dify.start(script, model_parameters={"max_tool_call_rounds": 2})
    for number in range(2):
        bridge.settle(bridge.wait_ticket(number), outputs=["A"])
    assert running.end().text == "That is all."
    assert "tools" not in log()[-1]["request"]


def test_the_reasoning_of_a_round_goes_back(dify: Dify, bridge: Bridge, log: Log) -> None:
    dify.credentials["upstream_model"] = "scripted-reasoning"
    bridge.answers["user1"] = run_of("!call read {}\n!then\n!say Done.", "read")
    running = dify.start("!call read {}\n!then\n!say Done.")
    bridge.settle(bridge.wait_ticket(), outputs=["A"])
    assert running.end().error is None
    assert log()[-1]["request"]["messages"][1]["reasoning_content"]


def test_many_invocations_wait_at_once_and_nothing_is_mixed_up(dify: Dify, bridge: Bridge) -> None:
    scripts = {f"user{n}": f'!call read {{"n": {n}}}\n!then\n!say Done {n}.' for n in range(60)}
    bridge.answers = {user: run_of(script, "read") for user, script in scripts.items()}
    running = {user: dify.start(script, user_id=user) for user, script in scripts.items()}
    bridge.wait_for("tickets", len(scripts))
    for ticket in list(bridge.tickets.values()):
        bridge.settle(ticket, outputs=[ticket.request.calls[0].arguments])
    for user, invocation in running.items():
        assert invocation.end().text == f"Done {user.removeprefix('user')}."


# Models that know no tools


@pytest.mark.parametrize("mode", ["auto", "openclaw_text"])
def test_models_that_write_their_calls_as_text(dify: Dify, bridge: Bridge, mode: str) -> None:
    """One turn with each format at once: two rounds, the text around the calls shown, the calls never."""
    script = '!say I look.\n!call read {"path": "a"}\n!then\n!call exec {"cmd": "ls"}\n!then\n!say All done.'
    running = {}
    for name in FORMATS:
        # Lines of YAML are a call only where they name a parameter.
        bridge.answers[name] = run_of(script, "read", "exec", texts=["path", "cmd"])
        model = f"scripted-text-{name}"
        credentials = dify.credentials | {"upstream_model": model}
        parameters = {"tool_call_mode": mode}
        running[name] = dify.start(script, credentials=credentials, user_id=name, model_parameters=parameters)
    calls: dict[str, list[Any]] = {}
    for number in range(2 * len(FORMATS)):
        ticket = bridge.wait_ticket(number)
        user = next(a.user for a in bridge.attached if a.invocation_id == ticket.request.invocation_id)
        calls.setdefault(str(user), []).extend((call.name, json.loads(call.arguments)) for call in ticket.request.calls)
        bridge.settle(ticket, outputs=["OUTPUT"])
    told = {name: invocation.end() for name, invocation in running.items()}
    assert {name: one.error for name, one in told.items() if one.error} == {}
    assert {name: " ".join(one.text.split()) for name, one in told.items()} == dict.fromkeys(
        FORMATS, "I look. All done."
    )
    expected = (("read", {"path": "a"}), ("exec", {"cmd": "ls"}))
    assert {name: tuple(made) for name, made in calls.items()} == dict.fromkeys(FORMATS, expected)


# Credentials


def test_validation_asks_both_sides(dify: Dify, bridge: Bridge, log: Log) -> None:
    dify.credentials["upstream_model_light"] = "scripted-light"
    assert dify.ask("validate_provider_credentials")[0]["result"] is True
    assert dify.ask("validate_model_credentials", model="scripted")[0]["result"] is True
    pings = [entry["request"] for entry in log() if entry["request"]["messages"][0]["content"] == "ping"]
    assert [ping["model"] for ping in pings] == ["scripted", "scripted-light", "scripted"]
    assert bridge.paths == ["GET /plugin/v1/ping"] * 2


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"upstream_base_url": "no url"}, ["upstream_base_url"]),
        ({"upstream_base_url": "http://127.0.0.1:9/v1"}, ["Upstream", "upstream_base_url", "host.docker.internal"]),
        ({"upstream_api_key": "sk-wrong-0123456789"}, ["Upstream", "upstream_api_key"]),
        ({"upstream_model": "unknown"}, ["Upstream", "upstream_model"]),
        ({"upstream_model": ""}, ["Upstream", "upstream_model"]),
        ({"bridge_token": "wrong"}, ["Bridge", "bridge_token"]),
        ({"bridge_token": ""}, ["Bridge", "bridge_token"]),
        ({"bridge_url": ""}, ["Bridge", "bridge_url"]),
        ({"bridge_url": "http://localhost:9"}, ["Bridge", "bridge_url", "host.docker.internal"]),
        ({"context_size": "many"}, ["context_size"]),
        ({"upstream_api_key": "sk-wrong-0123456789", "bridge_token": "wrong"}, ["Upstream", "Bridge"]),
    ],
)
def test_validation_says_which_side_failed_and_what_to_change(
    dify: Dify, changed: dict[str, str], told: list[str]
) -> None:
    dify.credentials |= changed
    with pytest.raises(DaemonError) as caught:
        dify.ask("validate_provider_credentials")
    said = json.loads(caught.value.message)["message"]
    for word in told:
        assert word in said
    if "bridge_url" in changed or "bridge_token" in changed:
        assert ("Upstream" in said) == ("upstream_api_key" in changed)
    assert KEY not in caught.value.message


def test_a_server_of_one_s_own_needs_neither_key_nor_bridge(dify: Dify, bridge: Bridge) -> None:
    dify.credentials |= {"bridge_url": "", "bridge_token": ""}
    assert dify.ask("validate_provider_credentials")[0]["result"] is True
    assert bridge.paths == []


# The schema


@pytest.mark.parametrize("model", ["main", "light", "qwen3:14b"])
def test_the_schema_has_the_form_s_context_size(dify: Dify, model: str) -> None:
    dify.credentials["context_size"] = "32768"
    [answer] = dify.ask("get_ai_model_schemas", model=model)
    schema = answer["model_schema"]
    assert (schema["model"], schema["model_properties"]["context_size"]) == (model, 32768)
    assert {rule["name"] for rule in schema["parameter_rules"]} >= {"callback_wait_seconds", "temperature"}


def test_every_model_has_the_same_parameters(dify: Dify) -> None:
    answers = [dify.ask("get_ai_model_schemas", model=model)[0] for model in ("main", "light", "qwen3:14b")]
    main, *others = [answer["model_schema"]["parameter_rules"] for answer in answers]
    assert len(main) > 20
    assert others == [main, main]


def test_tokens_are_estimated_without_the_network(dify: Dify) -> None:
    prompt = [{"role": "user", "content": "word " * 100}]
    [answer] = dify.ask("get_llm_num_tokens", prompt_messages=prompt, tools=[])
    assert 100 <= answer["num_tokens"] <= 150


def test_a_call_that_lay_unread_while_the_process_was_stopped_says_so(dify: Dify, bridge: Bridge) -> None:
    dify.start("!say now").end()
    assert dify.plugin.pid
    os.kill(dify.plugin.pid, signal.SIGSTOP)
    running = dify.start("!say later")
    time.sleep(2.5)
    os.kill(dify.plugin.pid, signal.SIGCONT)
    running.end()
    before, after = (request.unread_seconds for request in bridge.attached)
    assert before < 2 < after
