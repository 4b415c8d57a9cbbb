"""Estimates are near what tokenizers count, and never nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.runs.answers.view import estimate, prompt_tokens, tokens
from tools.calls import ToolCall
from tools.definitions import ToolDefinition

# Text, and its tokens as o200k_base and cl100k_base count them.
MEASURED = {
    "english": (
        "The chatflow asked for two files, and the machine that holds them sent both back within a second.",
        (21, 21),
    ),
    "german": (
        "Die Tür zum Garten war abgeschlossen, deshalb mussten wir über den schmalen Weg hinter dem Haus gehen.",
        (21, 25),
    ),
    "russian": ("Вчера вечером мы закончили ремонт и наконец открыли окно в новой комнате.", (16, 35)),
    "chinese": ("请把今天会议的要点整理成一份简短的清单，并发送给所有参加的人。", (23, 31)),
    "japanese": ("明日の午後三時に駅の前で待ち合わせをして、それから一緒に夕食を食べましょう。", (28, 44)),
    "arabic": ("أرسل لي قائمة بالملفات الموجودة على سطح المكتب من فضلك.", (15, 37)),
    "python": (
        'def area(width: float, height: float) -> float:\n    """Return the area."""\n'
        '    if width < 0 or height < 0:\n        raise ValueError("negative")\n    return width * height\n',
        (44, 43),
    ),
    "json": (
        '{"path": "notes/today.md", "lines": [1, 2, 3, 40], "create": true, "owner": {"name": "Ada", "id": "u-1042"}}',
        (47, 47),
    ),
    "listing": (
        "-rw-r--r-- 1 ada ada  5241 Nov 21 01:35 server.py\n-rw-r--r-- 1 ada ada 15209 Nov 21 01:35 scenarios.py\n"
        "drwxr-xr-x 2 ada ada  4096 Nov 21 01:36 data\n",
        (70, 70),
    ),
    "numbers": (" ".join(str(n * n * 37) for n in range(100, 140)), (119, 119)),
}
TOOL = ToolDefinition.model_validate(
    {
        "type": "function",
        "function": {
            "name": "read_file",
            "description": "Read a file of the workspace and return its text.",
            "parameters": {
                "type": "object",
                "properties": {"path": {"type": "string", "description": "The file, relative to the workspace."}},
                "required": ["path"],
            },
        },
    }
)


@pytest.mark.parametrize("kind", MEASURED)
def test_an_estimate_is_near_what_tokenizers_count(kind: str) -> None:
    text, counted = MEASURED[kind]
    assert 0.6 * min(counted) <= tokens(text) <= 1.4 * max(counted)


def test_over_many_kinds_of_text_an_estimate_is_close() -> None:
    estimated = sum(tokens(text) for text, _ in MEASURED.values())
    o200k = sum(counted[0] for _, counted in MEASURED.values())
    cl100k = sum(counted[1] for _, counted in MEASURED.values())
    assert 0.9 * o200k <= estimated <= 1.1 * cl100k


@given(st.text(), st.text())
def test_more_text_is_never_fewer_tokens_and_some_text_never_none(one: str, other: str) -> None:
    assert max(tokens(one), tokens(other)) <= tokens(one + other) <= tokens(one) + tokens(other)
    assert (tokens(one) == 0) is (one == "")
    assert tokens(one) <= len(one.encode())


def test_half_a_surrogate_pair_counts() -> None:
    assert tokens("\ud83d") == 1


def test_a_request_counts_its_messages_its_calls_and_its_tools() -> None:
    text = "word " * 400
    said = [{"role": "user", "content": text}]
    assert tokens(text) < prompt_tokens(said) < tokens(text) + 20
    assert prompt_tokens(said, [TOOL]) - prompt_tokens(said) == pytest.approx(75, abs=35)
    asked = {
        "role": "assistant",
        "content": None,
        "tool_calls": [ToolCall(id="a", name="x", arguments=text).to_openai()],
    }
    assert prompt_tokens([*said, asked]) > 2 * tokens(text)
    assert prompt_tokens([*said, {"role": "tool", "tool_call_id": "a", "content": text}]) > 2 * tokens(text)


def test_an_image_counts_as_an_image_and_not_as_its_base64() -> None:
    url = "data:image/png;base64," + "A" * 1_000_000
    words = {"type": "text", "text": "What is this?"}
    alone = prompt_tokens([{"role": "user", "content": [words]}])
    large = [{"role": "user", "content": [words, {"type": "image_url", "image_url": {"url": url}}]}]
    small = [{"role": "user", "content": [words, {"type": "image_url", "image_url": {"url": url, "detail": "low"}}]}]
    assert prompt_tokens(large) - alone == 765
    assert prompt_tokens(small) - alone == 85


def test_a_response_counts_what_it_told() -> None:
    said = [{"role": "user", "content": "hi"}]
    usage = estimate(said, [TOOL], "Hello there, how can I help you today?")
    assert usage.prompt_tokens == prompt_tokens(said, [TOOL])
    assert 7 <= usage.completion_tokens <= 14
    call = ToolCall(id="a", name="read_file", arguments='{"path": "notes/today.md"}')
    assert estimate(said, [TOOL], "", [call]).completion_tokens > 15
    assert estimate([], [], "").completion_tokens == 0


def test_malformed_messages_still_count() -> None:
    odd: list[Any] = [
        {},
        {"content": 7},
        {"tool_calls": "x"},
        {"tool_calls": [None, {}]},
        {"content": [None, "x", {"type": "y"}]},
    ]
    assert prompt_tokens(odd) > 5 * 4
