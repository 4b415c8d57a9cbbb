"""Results are text or content parts; what is too long is shortened and says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tools.results import ToolResult, images_message
from tools.shorten import shortened

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def result(output: object, **more: object) -> ToolResult:
    return ToolResult.model_validate({"tool_call_id": "call1", "output": output, **more})


def test_parts_become_text_and_images() -> None:
    parts = [
        {"type": "text", "text": "first"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "text", "text": "second"},
    ]
    taken = result(parts)
    assert taken.output == "first\nsecond"
    assert taken.images == [PIXEL]
    assert taken.to_message()["content"] == "first\nsecond\n(1 image, shown below)"
    assert ToolResult.model_validate_json(taken.model_dump_json()) == taken


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("no such file", "Error: no such file"),
        ("Error: no", "Error: no"),
        ("error 5", "error 5"),
        (" ", "Error: (no output)"),
    ],
)
def test_a_model_is_told_that_a_call_failed(output: str, told: str) -> None:
    assert result(output, is_error=True).to_message()["content"] == told
    assert result("done").to_message()["content"] == "done"


def test_the_images_of_a_round_make_one_message() -> None:
    assert images_message([result("text")]) is None
    message = images_message([result("text"), result([{"type": "image_url", "image_url": {"url": PIXEL}}])])
    assert message is not None
    assert message["content"][1] == {"type": "image_url", "image_url": {"url": PIXEL}}


@pytest.mark.parametrize(
    "output",
    [
        [{"type": "video", "url": "x"}],
        [{"type": "text"}],
        ["text"],
        [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}],
        [{"type": "image_url", "image_url": {"url": "data:text/html;base64,AAAA"}}],
        None,
        7,
    ],
)
def test_other_outputs_are_refused(output: object) -> None:
    with pytest.raises(ValidationError):
        result(output)


def test_a_long_result_says_what_was_cut_out() -> None:
    text = "\n".join(f"line {number}" for number in range(10_000))
    short = shortened(text, 2000)
    assert short.startswith("line 0\nline 1\n")
    assert short.endswith("line 9999")
    cut, whole = (int(word) for word in short.split("\n\n[")[1].split()[:3:2])
    assert whole == len(text)
    assert len(text) - cut == len(short) - len(short.split("\n\n[")[1].split("]\n\n")[0]) - 6


@given(st.text(max_size=400), st.integers(min_value=2, max_value=100))
def test_what_is_kept_never_exceeds_the_limit(text: str, limit: int) -> None:
    short = shortened(text, limit)
    assert short == text if len(text) <= limit else len(short) <= limit + 150
