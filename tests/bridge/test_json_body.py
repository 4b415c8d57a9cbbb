"""What a request's body may hold."""

import json

import pytest
from flask import Flask, request

from bridge.api.bodies import json_body
from bridge.errors import InvalidRequest, TooLarge
from tools.json_depth import DEEPEST

app = Flask("test")


def read(raw: bytes | str, limit: int = 1_000_000) -> dict[str, object]:
    with app.test_request_context(method="POST", data=raw):
        return json_body(request, limit)


def nested(levels: int) -> str:
    return '{"a":' * (levels - 1) + "{}" + "}" * (levels - 1)


def test_half_of_an_emoji_becomes_the_character_for_what_cannot_be_shown() -> None:
    body = read(json.dumps({"a\ud83d": ["cut \ud83d", {"b": "\udc00 \U0001f600"}], "n": 1}))
    assert body == {"a�": ["cut �", {"b": "� \U0001f600"}], "n": 1}
    json.dumps(body, ensure_ascii=False).encode()


def test_capital_escapes_count_too() -> None:
    assert read('{"a": "\\uD83D", "b": "\\uD83D\\uDE00"}') == {"a": "�", "b": "\U0001f600"}


def test_a_body_may_be_deep_but_not_deeper_than_everyone_can_write_it() -> None:
    assert read(nested(DEEPEST))
    with pytest.raises(InvalidRequest, match="deeper than 100"):
        read(nested(DEEPEST + 1))
    with pytest.raises(InvalidRequest):
        read(nested(100_000))


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff", b'"x"', b'{"a": "\xff"}', b"\xff\xfe{"])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read(raw)


def test_a_body_over_the_limit_is_refused() -> None:
    with pytest.raises(TooLarge):
        read('{"a": "bcd"}', limit=8)
