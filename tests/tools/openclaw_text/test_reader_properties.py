"""What holds for every text: the cut does not matter, nothing raises, prose is not touched, calls are read back."""

import json
from collections.abc import Callable
from cProfile import Profile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.openclaw_text import formats, parse
from tools.openclaw_text.events import Event, Text
from tools.openclaw_text.reader import Reader

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "save",
            "parameters": {
                "type": "object",
                "properties": {
                    "path": {"type": "string"},
                    "size": {"type": "integer"},
                    "deep": {"type": "boolean"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
    },
    {"type": "function", "function": {"name": "stop", "parameters": {"type": "object", "properties": {}}}},
]

FRAGMENTS = st.sampled_from(
    [
        *formats.WRAPPERS,
        *formats.BRACKET_WRAPPERS,
        *formats.FUNCTION_HEADS,
        *formats.SEPARATORS,
        *formats.CLOSERS,
        *formats.FRAMES,
        *formats.THOUGHTS,
        *formats.THOUGHTS.values(),
        *formats.RESULTS,
        *("save", "stop", '{"name": "save", "arguments": ', '{"path": "a"}', "{", "}", "[", "]", "(", ")", "<", ">"),
        *('"', "'", "\\", "`", "```json\n", "```\n", "```python\n", "~~~\n", "\n", "\r\n", " ", ",", ";", ":", "="),
        *("print(stop())", "stop()", '[save(path="x")]', "save(", "<parameter=path>", "</parameter>", "<stop/>"),
        *("<arg_key>path</arg_key>", "<arg_value>", "</arg_value>", "call:save{", 'path:<|"|>a<|"|>', "<save>"),
        *("<path>", "</path>", "</save>", "[stop]\n", "[tool:stop] ", "[/stop]", "functools[", "save:0"),
        *("Action: stop\nAction Input: ", "commentary to=stop code ", "final", " to=", "<|channel|>", "Observation:"),
        *('<｜DSML｜invoke name="save">', '<｜DSML｜parameter name="path" string="true">', "</｜DSML｜parameter>"),
        *('<invoke name="save">', '<parameter name="path">', "<function=save>", "<function=stop></function>"),
        *('<|open|>tools<|sep|><|open|>call tool="save"<|sep|>', '<|open|>argument key="path" type="string"<|sep|>'),
        *("<|close|>argument<|sep|>", "<|close|>call<|sep|>", "]<]minimax[>[<tool_call>", "]<]minimax[>[</invoke>"),
        *(
            ']<]minimax[>[<invoke name="save">',
            "]<]minimax[>[<path>",
            "]<]minimax[>[</path>",
            "</think>",
            "</mm:think>",
        ),
        *("<tool_call:7a>", "</tool_call:7a>", "<arg_key:7a>path</arg_key:7a>", "<arg_value:7a>", "</arg_value:7a>"),
        *("<think:7a>", "</think:7a>", "<|tool_call:start|>", "<|tool_call:end|>", "<|tool_arg:start|>", ">>>save\n"),
        *(">>>all\n", "all\n", "function call<|role_sep|>", " to=self<|message|>", "to=user<|channel|>", "save\n{"),
        *(
            "<｜｜DSML｜｜tool_calls>",
            "</｜｜DSML｜｜tool_calls>",
            "<x_tool_call>",
            "<ifm|tool_call>",
            "> ",
            "(",
            "='a'",
        ),
        *("prose. ", "名前", "1.5", "true", "null", " " * 40, "x" * 200),
    ]
)
SOUP = st.lists(st.one_of(FRAGMENTS, st.text(max_size=5)), max_size=25).map("".join)
CUTS = st.lists(st.integers(1, 40), min_size=1, max_size=6)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "path": TEXT,
        "size": st.integers(-(10**20), 10**20),
        "deep": st.booleans(),
        "tags": st.lists(TEXT, max_size=3),
    },
)
CALLS = st.lists(
    st.one_of(st.tuples(st.just("save"), ARGUMENTS), st.tuples(st.just("stop"), st.just({}))), min_size=1, max_size=3
)
PROSE = st.sampled_from(["", "I will do that.\n", "好的。\n\n", "a < b, so:\n"])

type Calls = list[tuple[str, dict[str, Any]]]


def cut(text: str, widths: list[int]) -> list[str]:
    chunks, position = [], 0
    while position < len(text):
        width = widths[len(chunks) % len(widths)]
        chunks.append(text[position : position + width])
        position += width
    return chunks


def read(chunks: list[str]) -> list[Event]:
    """All events, with neighbouring texts as one."""
    reader = Reader(TOOLS)
    found: list[Event] = []
    for event in [event for chunk in chunks for event in reader.feed(chunk)] + reader.close():
        if isinstance(event, Text) and found and isinstance(found[-1], Text):
            found[-1] = Text(found[-1].text + event.text)
        else:
            found.append(event)
    return found


@given(SOUP, CUTS)
def test_the_cut_does_not_matter(text: str, widths: list[int]) -> None:
    assert read(cut(text, widths)) == read([text])


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("behind", ["", "a", " ]<]minimax[>[</invoke>", "]<]minimax[>[</save>", " " * 300])
@pytest.mark.parametrize("word", ["invoke", "tool_call", "save"])
def test_the_cut_does_not_matter_to_a_closing_tag_without_its_mark(word: str, behind: str, width: int) -> None:
    text = f']<]minimax[>[<invoke name="save"></{word}>{behind}'

    assert read(cut(text, [width])) == read([text])


@given(st.binary(max_size=300), CUTS)
def test_nothing_raises(data: bytes, widths: list[int]) -> None:
    for text in (data.decode("latin-1"), data.decode("utf-8", "replace")):
        assert read(cut(text, widths)) == read([text])


@given(SOUP)
def test_only_declared_tools_are_called(text: str) -> None:
    assert all(call["name"] in ("save", "stop") for call in parse([text], TOOLS)["calls"])
    assert parse([text], [])["calls"] == []


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<>[]{`~◁cafstACFST"), max_size=200), CUTS)
def test_text_without_an_opener_is_neither_changed_nor_delayed(text: str, widths: list[int]) -> None:
    reader = Reader(TOOLS)

    for chunk in cut(text, widths):
        assert reader.feed(chunk) == [Text(chunk)]
    assert reader.close() == []


def as_json(calls: Calls) -> list[str]:
    return [json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False) for name, arguments in calls]


def plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def tagged(arguments: dict[str, Any], form: str) -> str:
    return "\n".join(form.format(key, plain(value)) for key, value in arguments.items())


def hermes(calls: Calls) -> str:
    return "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in as_json(calls))


def mistral(calls: Calls) -> str:
    return "".join(f"[TOOL_CALLS]{name}[ARGS]{json.dumps(arguments)}" for name, arguments in calls)


def array(calls: Calls) -> str:
    return f"[{', '.join(as_json(calls))}]"


def fenced(calls: Calls) -> str:
    return "\n".join(f"```json\n{call}\n```" for call in as_json(calls))


def python_tag(calls: Calls) -> str:
    return "<|python_tag|>" + "; ".join(as_json(calls))


def pythonic(calls: Calls) -> str:
    written = [f"{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})" for name, given in calls]
    return f"[{', '.join(written)}]"


def deepseek(calls: Calls) -> str:
    written = [
        f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{json.dumps(arguments)}<｜tool▁call▁end｜>"
        for name, arguments in calls
    ]
    return f"<｜tool▁calls▁begin｜>{''.join(written)}<｜tool▁calls▁end｜>"


def openclaw(calls: Calls) -> str:
    return "\n".join(f"[{name}]\n{json.dumps(arguments)}\n[/{name}]" for name, arguments in calls)


def harmony(calls: Calls) -> str:
    return "".join(
        f"<|start|>assistant<|channel|>commentary to=functions.{name} <|constrain|>json"
        f"<|message|>{json.dumps(given)}<|call|>"
        for name, given in calls
    )


def qwen(calls: Calls) -> str:
    form = "<parameter={}>\n{}\n</parameter>"
    return "\n".join(
        f"<tool_call>\n<function={name}>\n{tagged(given, form)}\n</function>\n</tool_call>" for name, given in calls
    )


def glm(calls: Calls) -> str:
    form = "<arg_key>{}</arg_key>\n<arg_value>\n{}\n</arg_value>"
    return "\n".join(f"<tool_call>{name}\n{tagged(given, form)}\n</tool_call>" for name, given in calls)


def minimax(calls: Calls) -> str:
    form = '<parameter name="{}">\n{}\n</parameter>'
    written = [f'<invoke name="{name}">\n{tagged(given, form)}\n</invoke>' for name, given in calls]
    return f"<minimax:tool_call>\n{chr(10).join(written)}\n</minimax:tool_call>"


def spelled(wrapper: str, call: str, argument: str, calls: Calls) -> str:
    def one(name: str, given: dict[str, Any]) -> str:
        return call.format(name, "".join(argument.format(key, plain(value)) for key, value in given.items()))

    return wrapper.format("".join(one(name, given) for name, given in calls))


def kimi_k3(calls: Calls) -> str:
    return spelled(
        "<|open|>tools<|sep|>{}<|close|>tools<|sep|>",
        '<|open|>call tool="{}" index="0"<|sep|>{}<|close|>call<|sep|>',
        '<|open|>argument key="{}"<|sep|>{}<|close|>argument<|sep|>',
        calls,
    )


def minimax_m3(calls: Calls) -> str:
    mark = "]<]minimax[>["
    return spelled(
        f"{mark}<tool_call>\n{{}}{mark}</tool_call>",
        f'{mark}<invoke name="{{}}">{{}}{mark}</invoke>\n',
        f"{mark}<{{0}}>{{1}}{mark}</{{0}}>",
        calls,
    )


def hunyuan(calls: Calls) -> str:
    return spelled(
        "<tool_calls:7a>{}</tool_calls:7a>",
        "<tool_call:7a>{}<tool_sep:7a>{}</tool_call:7a>",
        "<arg_key:7a>{}</arg_key:7a><arg_value:7a>{}</arg_value:7a>",
        calls,
    )


def solar(calls: Calls) -> str:
    return spelled(
        "{}",
        "<|tool_call:start|>{}\n{}<|tool_call:end|>\n",
        "<|tool_arg:start|>{}<|tool_arg:value|>{}<|tool_arg:end|>\n",
        calls,
    )


def functionary(calls: Calls) -> str:
    return "".join(f"\n>>>{name}\n{json.dumps(given)}" for name, given in calls)


NOTATIONS = [
    kimi_k3,
    minimax_m3,
    hunyuan,
    solar,
    functionary,
    hermes,
    mistral,
    array,
    fenced,
    python_tag,
    pythonic,
    deepseek,
    openclaw,
    harmony,
    qwen,
    glm,
    minimax,
]


@pytest.mark.parametrize("write", NOTATIONS)
@given(calls=CALLS, before=PROSE, after=st.sampled_from(["", "\nDone."]), widths=CUTS)
def test_calls_are_read_back(
    write: Callable[[Calls], str], calls: Calls, before: str, after: str, widths: list[int]
) -> None:
    after = "" if write is fenced else after  # an example that is shown has text behind it
    found = parse(cut(before + write(calls) + after, widths), TOOLS)

    assert [(call["name"], call["arguments"]) for call in found["calls"]] == calls
    assert (found["content"] or "").split() == (before + after).split()


ENDLESS = [
    "<tool_call>",
    "<tool_call>{",
    '{"name": "save", "arguments": {"path": "',
    '{"name": "save", "arguments": {"path": "a"}} ',
    "[{",
    "[save(",
    '<|open|>call tool="save"<|sep|>',
    '<|open|>call tool="save"<|sep|><|open|>a<|sep|>',
    "<tool_call:7a>",
    "]<]minimax[>[<invoke>",
    "<think:7a>",
    "<seed:think></seed:think>",
    "to=self<|message|>",
    "</think>",
    ">>>save\n{",
    '{"name": "stop"}',
    '{"name": "stop",}\n',
    '{"function": {"name": "stop"}}',
    '{"name": "stop", "arguments": {}}',
    '{"name": "stop"}{"name": "nobody"}',
    '[{"name": "stop"}]',
    '[{"name": "stop", "arguments": {}}, ',
    '{"a":',
    '{"name": "',
    '{"name": "stop", "arguments": "',
    '[TOOL_CALLS][{"name": "save"',
    '```json\n{"name": "a"b\n```\nc\n',
    '<|tool_call>call:save{"path": "a"b}',
    '<|tool_call>call:save(path=a<|"|>',
    "<think><tool_call>",
    "```json\n{",
    "```python\nsave(path=1)\n",
    "<function=save><parameter=path>",
    "<function=save><parameter=path>x</parameter>y",
    "<save><path>",
    "<｜DSML｜invoke name=",
    '<|tool_call>call:save{path:<|"|>',
    "[save]\n{",
    "Action: save\nAction Input: {\n",
    "\ncommentary to=save code {",
    "<",
    "`",
    "```\n",
]


#: What goes on without end once something has begun.
BEGUN = [
    ("<tool_call>[", '{"a": "b"c},'),
    ("<function=save>", "<parameter=path><function=a></parameter>"),
]


@pytest.mark.parametrize(("begin", "unit"), [*(("", unit) for unit in ENDLESS), *BEGUN])
@pytest.mark.parametrize("width", [1, 5, 4_096])
def test_no_text_takes_more_than_linear_time(begin: str, unit: str, width: int) -> None:
    def steps(size: int) -> int:
        """Count the calls that reading so much takes."""
        text = (begin + unit * (size // len(unit) + 1))[:size]
        reader = Reader(TOOLS)
        with Profile() as counted:
            for chunk in cut(text, [width]):
                reader.feed(chunk)
            reader.close()
        return sum(each.callcount for each in counted.getstats())

    steps(4_000)  # compiles the patterns that this text meets first
    assert steps(4_000) < 10 * steps(500)
    assert steps(4_000) < 100 * 4_000


@pytest.mark.parametrize(
    ("begin", "unit"),
    [
        ('<tool_call>{"a": "b"', " "),
        ("\nAction: save\nAction Input: ", "a"),
        ('<tool_call>```\n{"name": "stop"}', "`"),
    ],
)
def test_what_decides_nothing_is_not_looked_at_piece_by_piece(begin: str, unit: str) -> None:
    reader = Reader(TOOLS)
    reader.feed(begin)
    with Profile() as counted:
        for _ in range(20_000):
            reader.feed(unit)

    assert sum(each.callcount for each in counted.getstats() if getattr(each.code, "co_name", "") == "more") < 100
