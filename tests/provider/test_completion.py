"""What servers that call themselves OpenAI-compatible send."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from provider.engine.events import Completed, Delta, UpstreamFailed
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
from provider.upstream.completion import CompletionReader
from provider.upstream.failures import from_response, retry_after
from provider.upstream.wordings import FILTERED, NO_QUOTA, TOO_LONG
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


COUNTED = {"prompt_tokens": 12.0, "completion_tokens": 3}
COUNTED_END = Completed("stop", Usage(prompt_tokens=12, completion_tokens=3))


@pytest.mark.parametrize(
    ("chunks", "end"),
    [
        ([chunk("length"), "[DONE]"], Completed("length")),
        ([chunk("stop", content="x")], Completed("stop")),
        ([chunk(content="x"), "[DONE]"], Completed("stop")),
        (
            [chunk("stop", content="x"), {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}],
            Completed("stop", Usage(prompt_tokens=3, completion_tokens=4)),
        ),
        ([chunk("stop", content="x") | {"usage": {"prompt_tokens": "?"}}], Completed("stop")),
        ([{"choices": [{"finish_reason": "stop", "delta": {"content": "x"}, "usage": COUNTED}]}], COUNTED_END),
        (
            [{"choices": [], "usage": COUNTED}, chunk("stop", content="x") | {"usage": COUNTED | {"prompt_tokens": 0}}],
            COUNTED_END,
        ),
    ],
)
def test_how_a_stream_ends(chunks: list[Any], end: Completed) -> None:
    assert read(*chunks)[1] == end


def test_log_probabilities_are_kept_of_so_many_tokens() -> None:
    """What is none is passed over, whatever a server puts there."""
    one = {"token": "x", "logprob": -0.5}
    odd: list[Any] = [None, "x", {}, {"content": "x"}, {"content": ["x", None, one]}]
    chunks = [{"choices": [{"delta": {"content": "x"}, "logprobs": said}]} for said in odd]
    assert read(*chunks, chunk("stop"))[1] == Completed("stop", logprobs=(one,))
    long = [{"choices": [{"delta": {"content": "x"}, "logprobs": {"content": [one] * 3000}}]}] * 2
    end = read(*long, chunk("stop"))[1]
    assert isinstance(end, Completed)
    assert len(end.logprobs) == 4096


@pytest.mark.parametrize(
    ("word", "reason"),
    [("STOP", "stop"), ("COMPLETE", "stop"), ("eos_token", "stop"), ("MAX_TOKENS", "length"), ("repetition", "length")]
    + [(word, "content_filter") for word in ("SAFETY", "sensitive", "LANGUAGE", "refusal")]
    + [("content_filter: PROHIBITED_CONTENT", "content_filter"), ("content_filter: new_word", "content_filter")],
)
def test_each_vendor_s_word_for_an_end_is_one_of_openai_s(word: str, reason: str) -> None:
    assert read(chunk(word, content="x"))[1] == Completed(reason)


@pytest.mark.parametrize(
    "word",
    [
        *("TIMEOUT", "cancelled", "network_error", "MALFORMED_RESPONSE", "abort", "model_error", "engine_overloaded"),
        "function_call_filter: MALFORMED_FUNCTION_CALL",
    ],
)
def test_a_word_for_a_failure_is_no_end(word: str) -> None:
    _, end = read(chunk(word, content="x"))
    assert isinstance(end, UpstreamFailed)
    assert end.transient
    assert word in str(end.error)


@pytest.mark.parametrize(
    "body",
    [
        {"success": False, "message": "token is invalid", "code": 0},
        {"status": "449", "msg": "token is invalid", "body": None},
        {"error_code": 336003, "error_msg": "token is invalid"},
        {"success": False, "errors": [{"message": "token is invalid", "code": 5007}], "result": {}},
    ],
)
def test_an_error_without_an_error_object_is_told_in_its_words(body: dict[str, Any]) -> None:
    [failed] = list(CompletionReader().feed_chunk(body))
    assert isinstance(failed, UpstreamFailed)
    assert "token is invalid" in str(failed.error)


def test_a_notice_is_no_error() -> None:
    deltas, end = read({"status": "working", "message": "loading the model"}, chunk("stop", content="x"))
    assert (deltas, end) == ([Delta(text="x")], Completed("stop"))


@pytest.mark.parametrize("index", ["0", 0.0])
def test_an_index_is_a_number_however_it_is_written(index: object) -> None:
    call = {"index": index, "id": "c", "function": {"name": "read", "arguments": "{}"}}
    [delta], _ = read(chunk("tool_calls", tool_calls=[call]))
    assert [each["index"] for each in delta.tool_calls] == [0]


def test_a_call_whose_name_stands_beside_its_function_is_one() -> None:
    [given], _ = read(chunk("tool_calls", tool_calls=[{"index": 0, "id": "c", "name": "read", "arguments": "{}"}]))
    [call] = given.tool_calls
    assert (call["id"], call["function"]["name"], call["function"]["arguments"]) == ("c", "read", "{}")


def test_a_call_without_a_name_is_no_answer() -> None:
    _, end = read(chunk("tool_calls", tool_calls=[{"index": 0, "id": "c", "function": {"arguments": "{}"}}]))
    assert isinstance(end, UpstreamFailed)
    assert end.transient


@pytest.mark.parametrize("thought", [{}, {"reasoning_content": "Hm."}])
def test_a_thought_alone_is_no_answer_unless_it_holds_a_call(thought: dict[str, str]) -> None:
    _, end = read(chunk("stop", **thought))
    failed = end.failed if thought else end
    assert isinstance(failed, UpstreamFailed)
    assert failed.transient
    assert "answered nothing" in str(failed.error)


def test_an_end_that_nobody_knows_is_no_answer_where_nothing_was_said() -> None:
    assert isinstance(read(chunk("unheard_of"))[1], UpstreamFailed)
    assert read(chunk("unheard_of", content="x"))[1] == Completed("unheard_of")


def test_a_choice_is_the_same_one_however_its_number_is_written() -> None:
    deltas = [{"choices": [{"index": index, "delta": {"content": "x"}}]} for index in (0, "0", None)]
    assert read(*deltas)[0] == [Delta(text="x")] * 3


@pytest.mark.parametrize("show", [True, False])
def test_a_thought_whose_beginning_the_prompt_holds_is_told_by_its_end(show: bool) -> None:
    reader = CompletionReader(show_reasoning=show)
    message = {"role": "assistant", "content": "I look.\n</think>\n\nHello, </think>!"}
    [delta] = reader.feed_chunk({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    assert isinstance(delta, Delta)
    assert (delta.reasoning, delta.text) == ("I look." if show else "", "Hello, </think>!")


@pytest.mark.parametrize(
    "text", ["The tag `</think>` ends it.", "Between <think> and </think> it thinks.", "It ends with </think>"]
)
def test_an_answer_may_speak_of_the_end_of_a_thought(text: str) -> None:
    assert read(chunk("stop", content=text))[0] == [Delta(text=text)]


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
    failed = from_response(status, raw.encode(), {})
    assert type(failed.error) is error
    assert failed.transient is transient
    assert ("context_length_exceeded" in str(failed.error)) is (error is ContextTooLong)


@pytest.mark.parametrize("status", [401, 402, 404])
@pytest.mark.parametrize("said", ["No", "No.", "No!", "不对。", "x" * 5000])
def test_advice_follows_another_s_words_as_a_sentence(status: int, said: str) -> None:
    told = str(from_response(status, json.dumps({"error": {"message": said}}).encode(), {}).error)
    assert re.search(r"[^.!?。…][.!。…] [A-Z][^.]*$", told.replace("/v1", "")), told


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-1"}, 0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, 30),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT"}, 0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds


def test_the_wait_that_a_refusal_asks_for_is_read() -> None:
    assert from_response(429, b"{}", {"retry-after": "7"}).retry_after == 7


TOO_LONG_AS_SAID = {
    "OpenAI, DeepSeek": (
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens."
    ),
    "OpenAI (Responses), LiteLLM": (
        "Your input exceeds the context window of this model. Please adjust your input and try again."
    ),
    "vLLM": "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
    "SGLang": "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
    "SGLang's router": "total tokens exceeds the model's max of 4096",
    "llama.cpp, LM Studio": "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it",
    "Ollama": "the input length exceeds the context length",
    "Anthropic, OpenRouter": "prompt is too long: 210000 tokens > 200000 maximum",
    "Anthropic's newer models": "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
    "GitHub Copilot": "prompt token count of 9000 exceeds the limit of 8192",
    "GitHub Models": "Request body too large for gpt-4o model. Max size: 8000 tokens.",
    "Gemini": "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",
    "DashScope (Qwen)": "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]",
    "Zhipu (GLM)": "Prompt exceeds max length",
    "Moonshot (Kimi)": "Invalid request: Your request exceeded model token limit: 8192",
    "SiliconFlow": "length of prompt_tokens (40000) must be less than max_seq_len (32768).",
    "Mistral": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    "Groq, Together": "Please reduce the length of the messages or completion.",
    "TGI": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
    "Bedrock, gateways": "Input is too long for requested model.",
    "MiniMax, Baichuan, gateways": "model max length exceeded, max length:8192",
    "xAI": "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "Azure's GPT-5": "Input tokens exceed the configured limit of 272000 tokens..",
    "Cerebras": "Current length is 9000 while limit is 8192",
    "Vertex": "Unable to submit request because the input token count is 33000 but model only supports up to 32768.",
    "Volcengine": "Total tokens of image and text exceed max message tokens",
    "DS4": "Prompt tokens (9000) exceeds context size (8192)",
    "Qianfan": "prompt tokens too long",
    "others": "The input exceeds the model's maximum context limit of 8192 tokens.",
}


def refused(status: int, said: str, code: str = "") -> UpstreamFailed:
    return from_response(status, json.dumps({"error": {"message": said, "code": code}}).encode(), {})


@pytest.mark.parametrize("server", TOO_LONG)
@pytest.mark.parametrize("status", [400, 413, 500])
def test_every_server_s_way_to_say_that_a_prompt_is_too_long(server: str, status: int) -> None:
    example = TOO_LONG_AS_SAID[server]
    assert re.search(TOO_LONG[server], example, re.IGNORECASE), "the row recognises its own example"
    failed = refused(status, example)
    assert type(failed.error) is ContextTooLong
    assert not failed.transient


@pytest.mark.parametrize(
    "said",
    [
        "max_tokens must be at least 1, got -7584. (parameter=max_tokens, value=-7584)",
        "Input prompt (36893 tokens) is too long and exceeds limit of 1000",
        "This prompt is longer than the free tier allows for a single request",
        "number of input tokens (204703) has exceeded max_prompt_tokens (202752) limit.",
        "tokens in request more than max tokens allowed",
        "Prompt too large for this model",
        "Invalid 'messages[1].content': string too long. Expected a string with maximum length 1048576.",
        "输入内容超出模型上下文长度",
    ],
)
def test_more_ways_to_say_that_a_prompt_is_too_long(said: str) -> None:
    assert type(refused(400, said).error) is ContextTooLong


NO_QUOTA_AS_SAID = {
    "OpenAI": (429, "You exceeded your current quota, please check your plan and billing details."),
    "OpenAI's prepaid accounts, xAI": (
        403,
        "Your team has either used all available credits or reached its monthly spending limit.",
    ),
    "OpenRouter": (403, "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys"),
    "Ollama's cloud, Volcengine": (429, "you (ann) have reached your session usage limit, upgrade for higher limits"),
    "DashScope (Qwen)": (400, "Access denied, please make sure your account is in good standing."),
    "Zhipu (GLM)": (429, "余额不足或无可用资源包,请充值。"),
}


@pytest.mark.parametrize("server", NO_QUOTA)
def test_every_server_s_way_to_say_that_nothing_is_left_to_spend(server: str) -> None:
    status, example = NO_QUOTA_AS_SAID[server]
    assert re.search(NO_QUOTA[server], example, re.IGNORECASE), "the row recognises its own example"
    failed = refused(status, example)
    assert type(failed.error) is RateLimited
    assert "no quota left" in str(failed.error)
    assert not failed.transient


FILTERED_AS_SAID = {
    "Azure, OpenAI": (400, "The response was filtered due to the prompt triggering Azure's content management policy."),
    "xAI": (403, "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"),
    "DashScope (Qwen)": (500, "Input data may contain inappropriate content."),
    "DeepSeek, Moonshot": (400, "Content Exists Risk"),
    "Zhipu (GLM), MiniMax, Volcengine": (400, "系统检测到输入或生成内容可能包含不安全或敏感内容"),
    "OpenRouter": (403, "Your chosen model requires moderation and your input was flagged"),
}


@pytest.mark.parametrize("server", FILTERED)
def test_what_a_filter_refuses_is_neither_a_wrong_key_nor_worth_another_try(server: str) -> None:
    status, example = FILTERED_AS_SAID[server]
    assert re.search(FILTERED[server], example, re.IGNORECASE), "the row recognises its own example"
    failed = refused(status, example)
    assert type(failed.error) is Refused
    assert not failed.transient
    assert "filter" in str(failed.error)
    assert str(status) not in str(failed.error), "what reads the text must not go by a status that means something else"


def test_what_a_filter_refuses_within_a_stream_is_not_asked_for_again() -> None:
    [failed], _ = read({"error": {"message": "The response was filtered.", "code": "content_filter"}})
    assert isinstance(failed, UpstreamFailed)
    assert (type(failed.error), failed.transient) == (Refused, False)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "Too many tokens per day, please wait before trying again."),
        (400, "Tokens per minute limit exceeded - too many tokens processed"),
        (403, "This request would exceed your account's rate limit"),
        (413, "Request too large on tokens per minute (TPM): Limit 12000, Requested 13000"),
    ],
)
def test_a_rate_is_a_rate_under_any_status(status: int, said: str) -> None:
    failed = refused(status, said)
    assert (type(failed.error), failed.transient) == (RateLimited, True)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (
            "You exceeded your current quota. Quota exceeded for metric: free_tier_requests. Please retry in 35.5s.",
            35.5,
        ),
        ("Rate limit reached. Please try again in 320ms.", 0.32),
        ("Rate limit reached. Please try again in 1m12s.", 72),
        ("Rate limit reached. Please try again after 2m", 120),
        ("Rate limit reached. Please try again in a while.", None),
        ("Rate limit reached. Please try again in ...s.", None),
        ("Rate limit reached. Please try again in 1.2.3s.", None),
    ],
)
def test_the_wait_that_only_the_words_ask_for_is_read_and_makes_a_quota_a_rate(
    said: str, seconds: float | None
) -> None:
    failed = refused(429, said)
    assert (type(failed.error), failed.transient, failed.retry_after) == (RateLimited, True, seconds)
    assert "no quota left" not in str(failed.error)


@pytest.mark.parametrize(
    "said",
    [
        "Invalid schema for function 'recharge_card': billing_address is not allowed",
        "Unknown parameter: 'rate_limit'.",
        "Model context window too small (minimum is 128k tokens)",
        "Invalid schema for function 'get_credit_balance'",
    ],
)
def test_what_only_names_such_a_thing_is_a_refusal_like_others(said: str) -> None:
    assert type(refused(400, said).error) is Refused


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (429, "Too many tokens, please wait"),
        (400, "Rate limit: too many tokens per minute"),
        (400, "max_tokens must be at least 16"),
        (400, "messages.0.content: input is required"),
        (500, "Internal error"),
        (413, "Request too large on tokens per minute (TPM): Limit 6000, Requested 9000"),
        (400, "Invalid 'user': string too long. Expected a string with maximum length 64"),
        (400, "vision tokens exceed processor budget"),
        (400, "Range of max_tokens should be [1, 8192]"),
    ],
)
def test_what_is_not_about_the_context(status: int, said: str) -> None:
    assert type(from_response(status, json.dumps({"message": said}).encode(), {}).error) is not ContextTooLong


def test_secrets_and_long_texts_do_not_get_through() -> None:
    key = "my-own-secret-key"
    body = {
        "error": {
            "message": f"Key {key} or sk-proj-abcdefgh or Bearer abc.def.ghi at http://me:pw@host/ \n" + "x" * 5000
        }
    }
    said = str(from_response(400, json.dumps(body).encode(), {}, [key]).error)
    for secret in (key, "abcdefgh", "abc.def.ghi", "me:pw"):
        assert secret not in said
    assert len(said) < 700
    assert "\n" not in said


def test_clean_keeps_what_is_harmless() -> None:
    assert clean("the model gpt-5 is not known") == "the model gpt-5 is not known"


@pytest.mark.parametrize("secret", ["ollama", "none", "EMPTY", "key"])
def test_a_short_secret_does_not_turn_words_into_stars(secret: str) -> None:
    said = f"the {secret} server has none of this key, EMPTY or not, ollama"
    assert clean(said, [secret]) == said


@pytest.mark.parametrize(
    "said", ["wrong api key: s3cr", 'Incorrect API key provided: "s3cr"', "token=s3cr", "Bearer s3cr"]
)
def test_a_short_secret_is_hidden_where_it_stands_as_a_key(said: str) -> None:
    assert "s3cr" not in clean(said, ["s3cr"])


def test_of_two_secrets_the_longer_goes_first() -> None:
    assert clean("x abcdefgh-abcdefgh y", ["abcdefgh", "abcdefgh-abcdefgh"]) == "x *** y"


def test_characters_that_come_in_halves_are_put_together() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "say", "arguments": '{"a": "\ud83d'}}
    rest = {"index": 0, "function": {"arguments": '\ude00"}'}}
    events, _ = read(
        chunk(reasoning_content="\ud83d"),
        chunk(reasoning_content="\ude00"),
        chunk(content="so \ud83d"),
        chunk(content="\ude00!"),
        chunk(tool_calls=[call]),
        chunk(tool_calls=[rest]),
    )
    deltas = [event for event in events if isinstance(event, Delta)]
    assert "".join(delta.reasoning for delta in deltas) == "\U0001f600"
    assert "".join(delta.text for delta in deltas) == "so \U0001f600!"
    arguments = [made["function"]["arguments"] for delta in deltas for made in delta.tool_calls]
    assert "".join(arguments) == '{"a": "\U0001f600"}'
