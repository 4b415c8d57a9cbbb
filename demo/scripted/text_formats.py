"""Tool calls as text, the way each family of models writes them: a table of templates.

The names are those in common use for the formats. Nothing here is shared with the code that reads such text, so that
each checks the other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from demo.scripted.text_arguments import (
    Body,
    arg_pairs,
    as_json,
    dsml_parameters,
    escaped_object,
    json_keywords,
    nested_tags,
    parameter_lines,
    parameter_tags,
    python_keywords,
    quoted_object,
    step_parameters,
    yaml_lines,
)


@dataclass(frozen=True)
class Format:
    """One format. In `call`, NAME, BODY and INDEX are filled in; BODY is the arguments as `body` writes them.

    `marker` finds a call written so, in a message of the transcript or in a prompt that shows how to write one.
    """

    name: str
    call: str
    marker: str
    body: Body = as_json
    before: str = ""
    between: str = "\n"
    after: str = ""
    one_call_only: bool = False

    def write(self, calls: Sequence[tuple[str, str]]) -> str:
        """The text of these calls, each a name and the body of its arguments."""
        written = (self._fill(index, name, body) for index, (name, body) in enumerate(calls))
        return self.before + self.between.join(written) + self.after

    def is_in(self, text: str) -> bool:
        """Whether a call in this format stands in the text."""
        return re.search(self.marker, text, re.MULTILINE) is not None

    def _fill(self, index: int, name: str, body: str) -> str:
        values = {"NAME": name, "BODY": body, "INDEX": str(index)}
        return re.sub("NAME|BODY|INDEX", lambda match: values[match[0]], self.call)


_JSON_CALL = '{"name": "NAME", "arguments": BODY}'
_JSON_CALL_WITH_PARAMETERS = '{"name": "NAME", "parameters": BODY}'
_JSON_MARKER = r'\{\s*"name"\s*:\s*"[^"]*"\s*,\s*"(?:arguments|parameters)"\s*:'
_FUNCTION_TAGS = "<function=NAME>\nBODY</function>"
_INVOKE = '<invoke name="NAME">\nBODY</invoke>'

_TABLE = (
    # JSON
    Format("bare_json", _JSON_CALL, _JSON_MARKER),
    Format("json_array", _JSON_CALL, r"\[\s*" + _JSON_MARKER, before="[", between=", ", after="]"),
    Format("fenced_json", f"```json\n{_JSON_CALL}\n```", r"```(?:json)?\n\s*" + _JSON_MARKER),
    Format("hermes_json", f"<tool_call>\n{_JSON_CALL}\n</tool_call>", r"<tool_call>\s*\{"),
    Format("mistral", _JSON_CALL, r"\[TOOL_CALLS\] ?\[", before="[TOOL_CALLS] [", between=", ", after="]"),
    Format("mistral_args", "[TOOL_CALLS]NAME[ARGS]BODY", r"\[TOOL_CALLS\][\w-]+\[ARGS\]", between=""),
    Format(
        "llama_python_tag",
        _JSON_CALL_WITH_PARAMETERS,
        r"<\|python_tag\|>",
        before="<|python_tag|>",
        between="; ",
    ),
    Format("lmstudio", f"[TOOL_REQUEST]{_JSON_CALL}[END_TOOL_REQUEST]", r"\[TOOL_REQUEST\]"),
    Format("openclaw_bracket", "[NAME]\nBODY\n[END_TOOL_REQUEST]", r"^\[[\w-]+\]\n"),
    Format("openclaw_harmony", "commentary to=NAME code BODY", r"^commentary to=[\w-]+ code "),
    Format("bracket_pair", "[NAME, BODY]", r"^\[[\w-]+, \{", one_call_only=True),
    Format(
        "deepseek_v3",
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\nBODY\n```<｜tool▁call▁end｜>",
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
        before="<｜tool▁calls▁begin｜>",
        after="<｜tool▁calls▁end｜>",
    ),
    Format(
        "deepseek_v31",
        "<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>BODY<｜tool▁call▁end｜>",
        "<｜tool▁call▁begin｜>",
        before="<｜tool▁calls▁begin｜>",
        between="",
        after="<｜tool▁calls▁end｜>",
    ),
    Format(
        "kimi_k2",
        "<|tool_call_begin|>functions.NAME:INDEX<|tool_call_argument_begin|>BODY<|tool_call_end|>",
        r"<\|tool_call_begin\|>",
        before="<|tool_calls_section_begin|>",
        between="",
        after="<|tool_calls_section_end|>",
    ),
    Format(
        "harmony",
        "<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>BODY<|call|>",
        r"<\|channel\|>commentary to=",
        between="<|start|>assistant",
    ),
    Format(
        "tool_calls_json", _JSON_CALL, r"<tool_calls>", before="<tool_calls>[", between=", ", after="]</tool_calls>"
    ),
    Format("granite_tag", _JSON_CALL, r"<\|tool_call\|>", before="<|tool_call|>[", between=", ", after="]"),
    Format("granite20b", f"<function_call> {_JSON_CALL}", r"<function_call> ?\{"),
    Format("nemotron", _JSON_CALL, r"<TOOLCALL>", before="<TOOLCALL>[", between=", ", after="]</TOOLCALL>"),
    Format(
        "internlm2",
        f"<|action_start|><|plugin|>{_JSON_CALL_WITH_PARAMETERS}<|action_end|>",
        r"<\|action_start\|>",
    ),
    Format(
        "cohere_action",
        '{"tool_call_id": "INDEX", "tool_name": "NAME", "parameters": BODY}',
        r"<\|START_ACTION\|>",
        before="<|START_ACTION|>[\n    ",
        between=",\n    ",
        after="\n]<|END_ACTION|>",
    ),
    Format(
        "apertus",
        '{"NAME": BODY}',
        r"<\|tools_prefix\|>",
        before="<|tools_prefix|>[",
        between=", ",
        after="]<|tools_suffix|>",
    ),
    Format("phi4_functools", _JSON_CALL, r"functools\[", before="functools[", between=", ", after="]"),
    Format("longcat", f"<longcat_tool_call>{_JSON_CALL}</longcat_tool_call>", r"<longcat_tool_call>"),
    Format("react", "Action: NAME\nAction Input: BODY", r"^Action: *\S+ *\nAction Input:", one_call_only=True),
    # Python
    Format("pythonic", "NAME(BODY)", r"^\[\w+\(", body=python_keywords, before="[", between=", ", after="]"),
    Format(
        "tool_code",
        "print(NAME(BODY))",
        r"```tool_code\n",
        body=python_keywords,
        before="```tool_code\n",
        after="\n```",
    ),
    Format(
        "fenced_python",
        "NAME(BODY)",
        r"```python\n\w+\(",
        body=python_keywords,
        before="```python\n",
        after="\n```",
    ),
    Format(
        "lfm2",
        "NAME(BODY)",
        r"<\|tool_call_start\|>",
        body=python_keywords,
        before="<|tool_call_start|>[",
        between=", ",
        after="]<|tool_call_end|>",
    ),
    Format(
        "olmo3",
        "NAME(BODY)",
        r"<function_calls>\n\w+\(",
        body=json_keywords,
        before="<function_calls>\n",
        after="\n</function_calls>",
    ),
    # Tags
    Format(
        "hermes_fn", f"<tool_call>\n{_FUNCTION_TAGS}\n</tool_call>", r"<tool_call>\n<function=", body=parameter_lines
    ),
    Format("function_tag", "<function=NAME>BODY</function>", r"<function=[\w-]+>"),
    Format(
        "seed_oss",
        f"<seed:tool_call>\n{_FUNCTION_TAGS}\n</seed:tool_call>",
        r"<seed:tool_call>",
        body=parameter_lines,
    ),
    Format("glm_xml", "<tool_call>NAME\nBODY</tool_call>", r"<tool_call>[\w-]+\n", body=arg_pairs),
    Format(
        "minimax_m2",
        _INVOKE,
        r"<minimax:tool_call>",
        body=parameter_tags,
        before="<minimax:tool_call>\n",
        after="\n</minimax:tool_call>",
    ),
    Format(
        "invoke_xml",
        _INVOKE,
        r"<function_calls>\n<invoke ",
        body=parameter_tags,
        before="<function_calls>\n",
        after="\n</function_calls>",
    ),
    Format(
        "deepseek_dsml",
        '<｜DSML｜invoke name="NAME">\nBODY</｜DSML｜invoke>',
        "<｜DSML｜invoke ",
        body=dsml_parameters,
        before="<｜DSML｜function_calls>\n",
        after="\n</｜DSML｜function_calls>",
    ),
    Format(
        "step3",
        "<｜tool_call_begin｜>function<｜tool_sep｜>"
        '<steptml:invoke name="NAME">BODY</steptml:invoke><｜tool_call_end｜>',
        "<steptml:invoke ",
        body=step_parameters,
        before="<｜tool_calls_begin｜>\n",
        after="\n<｜tool_calls_end｜>",
    ),
    Format("named_tag_xml", "<NAME>\nBODY</NAME>", r"^<(\w+)>\n[\s\S]*?</\1>", body=nested_tags),
    Format("named_tag_yaml", "<NAME>\nBODY</NAME>", r"^<(\w+)>\n[\s\S]*?</\1>", body=yaml_lines),
    # A syntax of their own
    Format("gemma4", "<|tool_call>call:NAMEBODY<tool_call|>", r"<\|tool_call>", body=quoted_object, between=""),
    Format(
        "functiongemma",
        "<start_function_call>call:NAMEBODY<end_function_call>",
        r"<start_function_call>",
        body=escaped_object,
        between="",
    ),
)

FORMATS = {format_.name: format_ for format_ in _TABLE}


def holds_call(text: str) -> bool:
    """Whether a call in any of the formats stands in the text."""
    return any(format_.is_in(text) for format_ in _TABLE)


def shows_tool(prompt: str, name: str) -> bool:
    """Whether a prompt defines the tool: its name quoted, in a tag, with a signature after it, or as a heading."""
    name = re.escape(name)
    return re.search(rf"""["'`<]{name}["'`>]|\b{name}\(|^#+ +`?{name}\b""", prompt, re.MULTILINE) is not None
