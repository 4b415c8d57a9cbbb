"""What servers that call themselves OpenAI-compatible send."""

import json
from typing import Any

import pytest

from provider.completion import CompletionReader
from provider.errors import (
    ContextTooLong,
    ProviderError,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
    Unreachable,
    clean,
)
from provider.events import Completed, Delta, UpstreamFailed
from provider.failures import from_response
from tools.wire import Usage


def read(*chunks: dict[str, Any] | str) -> tuple[list[Delta | UpstreamFailed], Completed | UpstreamFailed]:
    reader = CompletionReader()
    data = [chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in chunks]
    return [event for one in data for event in reader.feed(one)], reader.close()


def chunk(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ({"content": "a"}, Delta(text="a")),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, Delta(text="ab")),
        ({"refusal": "I will not."}, Delta(text="I will not.")),
        ({"reasoning_content": "r"}, Delta(reasoning="r", reasoning_field="reasoning_content")),
        ({"reasoning": "r", "content": None}, Delta(reasoning="r", reasoning_field="reasoning")),
        ({"tool_calls": [{"index": 0, "id": "x"}]}, Delta(tool_calls=[{"index": 0, "id": "x"}])),
    ],
)
def test_deltas(delta: dict[str, Any], expected: Delta) -> None:
    assert read(chunk(**delta))[0] == [expected]


@pytest.mark.parametrize(
    "nothing",
    [
        {},
        {"choices": []},
        {"choices": None},
        {"choices": [{}]},
        {"choices": [{"delta": None}]},
        chunk(role="assistant", content=""),
        chunk(content=None, tool_calls=None),
        "OPENROUTER PROCESSING",
        "[1]",
        "{broken",
    ],
)
def test_what_says_nothing_is_passed_over(nothing: Any) -> None:
    deltas, end = read(nothing, chunk("stop", content="x"))
    assert (deltas, end) == ([Delta(text="x")], Completed("stop"))


@pytest.mark.parametrize(
    ("chunks", "end"),
    [
        ([chunk("length"), "[DONE]"], Completed("length")),
        ([chunk("stop")], Completed("stop")),
        ([chunk(content="x"), "[DONE]"], Completed("stop")),
        (
            [chunk("stop"), {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}],
            Completed("stop", Usage(prompt_tokens=3, completion_tokens=4)),
        ),
        ([chunk("stop") | {"usage": {"prompt_tokens": "?"}}], Completed("stop")),
    ],
)
def test_how_a_stream_ends(chunks: list[Any], end: Completed) -> None:
    assert read(*chunks)[1] == end


def test_a_stream_without_an_end_was_cut() -> None:
    _, end = read(chunk(content="x"))
    assert isinstance(end, UpstreamFailed)
    assert end.transient
    assert isinstance(end.error, Unreachable)


def test_a_whole_completion_is_read_too() -> None:
    message = {"role": "assistant", "content": "Hello."}
    whole = {
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    assert read(whole) == ([Delta(text="Hello.")], Completed("stop", Usage(prompt_tokens=1, completion_tokens=2)))


def test_an_error_within_the_stream() -> None:
    [failed], _ = read({"error": {"message": "Slow down.", "code": 429}})
    assert isinstance(failed, UpstreamFailed)
    assert isinstance(failed.error, RateLimited)
    assert failed.transient


@pytest.mark.parametrize(
    ("status", "body", "error", "transient"),
    [
        (400, {"error": {"message": "bad", "code": "x"}}, Refused, False),
        (400, {"error": {"message": "x", "code": "context_length_exceeded"}}, ContextTooLong, False),
        (400, {"error": {"message": "This model's maximum context length is 4096 tokens"}}, ContextTooLong, False),
        (400, {"object": "error", "message": "the input exceeds the available context size"}, ContextTooLong, False),
        (400, {"error": {"message": "prompt is too long: 210000 tokens > 200000 maximum"}}, ContextTooLong, False),
        (400, {"error": {"message": "Range of input length should be [1, 30720]"}}, ContextTooLong, False),
        (413, {"error": {"message": "Too many tokens"}}, ContextTooLong, False),
        (401, {"error": {"message": "no"}}, Unauthorized, False),
        (403, {"detail": "no"}, Unauthorized, False),
        (402, {"error": {"message": "Insufficient Balance"}}, RateLimited, False),
        (429, {"error": {"message": "slow"}}, RateLimited, True),
        (
            429,
            {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota"}},
            RateLimited,
            False,
        ),
        (404, {"error": "model not found"}, Refused, False),
        (408, {}, Unavailable, True),
        (500, "<html>oops</html>", Unavailable, True),
        (503, {"error": {"message": "loading"}}, Unavailable, True),
        (501, {}, Unavailable, False),
        (307, "", Refused, False),
        (422, [1], Refused, False),
    ],
)
def test_what_a_refusal_means(status: int, body: Any, error: type[ProviderError], transient: bool) -> None:
    raw = body if isinstance(body, str) else json.dumps(body)
    failed = from_response(status, raw.encode(), None)
    assert type(failed.error) is error
    assert failed.transient is transient
    assert ("context_length_exceeded" in str(failed.error)) is (error is ContextTooLong)


@pytest.mark.parametrize(
    ("header", "seconds"), [("3", 3), ("0.5", 0.5), ("-1", 0), (None, None), ("Wed, 21 Oct", None)]
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert from_response(429, b"{}", header).retry_after == seconds


def test_secrets_and_long_texts_do_not_get_through() -> None:
    key = "my-own-secret-key"
    body = {
        "error": {
            "message": f"Key {key} or sk-proj-abcdefgh or Bearer abc.def.ghi at http://me:pw@host/ \n" + "x" * 5000
        }
    }
    said = str(from_response(400, json.dumps(body).encode(), None, [key]).error)
    for secret in (key, "abcdefgh", "abc.def.ghi", "me:pw"):
        assert secret not in said
    assert len(said) < 700
    assert "\n" not in said


def test_clean_keeps_what_is_harmless() -> None:
    assert clean("the model gpt-5 is not known") == "the model gpt-5 is not known"
