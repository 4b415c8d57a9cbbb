"""What the client asks of the model reaches the upstream, and the node has the last word unless it gives it away."""

from typing import Any

import pytest

from provider.settings import NodeSettings
from provider.upstream.request import base_request, with_client
from tests.provider.play import Play, attached

SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}


def merged(node: dict[str, Any], client: dict[str, Any], model: str = "m") -> dict[str, Any]:
    settings = NodeSettings(**node)
    return with_client(base_request(model, settings, None), client, settings)


def test_the_client_s_parameters_are_in_every_upstream_call_of_its_run() -> None:
    play = Play().start(attached(parameters={"temperature": 0.5, "stop": ["END"], "response_format": SCHEMA}))
    assert play.body["temperature"] == 0.5
    assert play.body["stop"] == ["END"]
    assert play.body["response_format"] == SCHEMA
    assert not play.body.keys() & {"max_tokens", "seed"}


@pytest.mark.parametrize(("source", "kept"), [("node", 0.1), ("client", 0.9)])
def test_who_comes_first_is_the_node_s_choice(source: str, kept: float) -> None:
    asked = merged({"temperature": 0.1, "top_p": 0.2, "parameters_from": source}, {"temperature": 0.9, "seed": 7})
    assert (asked["temperature"], asked["top_p"], asked["seed"]) == (kept, 0.2, 7)


def test_a_node_that_wants_text_gets_text() -> None:
    assert "response_format" not in merged({"response_format": "text"}, {"response_format": SCHEMA})
    assert merged({}, {"response_format": SCHEMA})["response_format"] == SCHEMA


def test_the_limit_is_merged_like_the_rest() -> None:
    assert merged({}, {"max_tokens": 99})["max_tokens"] == 99
    assert merged({"max_tokens": 5}, {"max_tokens": 99})["max_tokens"] == 5


def test_nothing_else_of_a_client_reaches_the_upstream() -> None:
    assert merged({}, {"model": "other", "messages": [], "stream": False, "logit_bias": {}}) == merged({}, {})
