"""The one table of how calls are written as text. The reader and the writer go by it.

Sources: the chat templates of the models named. What OpenClaw does with text stands in `deeds`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tools.openclaw_text.patterns import OneOf, Pattern, Run

#: The words with which a harmony call may begin a line, once its special tokens are dropped.
LINE_WORDS = ("commentary", "analysis", "final")

# What the reader goes by. In a tag, `|` stands for either bar and `_` for the underscore or U+2581, as DeepSeek writes.

#: Tags behind which one or more calls stand, in whatever notation.
WRAPPERS = (
    "<tool_call>",
    "<tool_calls>",
    "<function_call>",
    "<function_calls>",
    "<toolcall>",
    "<tool_code>",
    "<tool_use>",
    "<|tool_call|>",
    "<|tool_call>",
    "<|tool_calls|>",
    "<start_function_call>",
    "<|tool_call_start|>",
    "<|tool_calls_begin|>",
    "<|tool_call_begin|>",
    "<|tool_calls_section_begin|>",
    "<|tool_call_section_begin|>",
    "<|python_tag|>",
    "<|python_start|>",
    "<|start_action|>",
    "<|tools_prefix|>",
    "<|action_start|>",
    "<|plugin|>",
)
BRACKET_WRAPPERS = ("[TOOL_CALLS]", "[TOOL_REQUEST]")

#: Wrappers whose calls have a separator between name and arguments; without it the name is text.
SEPARATED_WRAPPERS = ("<|tool_call_begin|>",)
#: Wrappers of which each call has one of its own inside; without it a name is text.
SECTION_WRAPPERS = (
    "<|tool_calls_begin|>",
    "<|tool_calls_section_begin|>",
    "<|tool_call_section_begin|>",
)

#: The heads of calls that need no wrapper.
FUNCTION_HEADS = (
    "<function=",
    "<function name=",
    "<invoke name=",
    "<invoke=",
    "<call=",
    "<tool=",
)

#: Between a call's name and its arguments.
SEPARATORS = (
    "<tool_sep>",
    "<|tool_sep|>",
    "<|tool_call_argument_begin|>",
    "<|message|>",
    "<|constrain|>json",
    "[ARGS]",
)

#: What ends a message or a text: behind a call it says nothing, and nowhere is it text.
ENDS = (
    "<|call|>",
    "<|end|>",
    "<|eom|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|eot|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end_of_turn_token|>",
    "<|observation|>",
    "<end_of_turn>",
    "<turn|>",
)

#: What may stand behind a call and says nothing: closers, stop tokens.
CLOSERS = (
    "</tool_call>",
    "</tool_calls>",
    "</function>",
    "</function_call>",
    "</function_calls>",
    "</function_invocation>",
    "</invoke>",
    "</call>",
    "</tool>",
    "</toolcall>",
    "</tool_code>",
    "</tool_use>",
    "</arguments>",
    "<tool_call|>",
    "<|/tool_call|>",
    "<end_function_call>",
    "<|tool_call_end|>",
    "<|tool_calls_end|>",
    "<|tool_calls_section_end|>",
    "<|tool_call_section_end|>",
    "<|tool_response>",
    "<start_function_response>",
    "<|python_end|>",
    "<|end_action|>",
    "<|tools_suffix|>",
    "<|action_end|>",
    "<|end_of_sentence|>",
    "</s>",
    "[/TOOL_CALLS]",
    "[END_TOOL_REQUEST]",
    "[TOOL_REQUEST_END]",
    "[END_TOOL_RESULT]",
    "[/TOOL_REQUEST]",
    *ENDS,
)

#: Tokens that frame messages and are no text.
FRAMES = (
    "<|message|>",
    "<|return|>",
    "<|start_response|>",
    "<|end_response|>",
    "<|start_text|>",
    "<|end_text|>",
    "<|message_sep|>",
    "<|role_sep|>",
    "<|message_model|>",
    "<|content_text|>",
    "<|end_message|>",
    "<|content_model_end_sampling|>",
    "<|im:start|>",
    "<|im:content|>",
    "<|im:end|>",
    "<|end_of_msg|>",
    "<|plamo:tag|>",
    *ENDS,
)

#: What a family calls its thoughts, in tags of any spelling.
THOUGHT_WORDS = ("thinking", "think", "thoughts", "thought", "reasoning", "reflection", "scratchpad")
#: Thoughts in other tokens, and how they end then.
THOUGHTS = {
    "<|start_thinking|>": "<|end_thinking|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|inner_prefix|>": "<|inner_suffix|>",
    "<|content_thinking|>": "<|end_message|>",
    "<|channel>thought": "<channel|>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
}
#: What ends a message, and with it a thought that is one.
MESSAGE_ENDS = ("<|end|>", "<|eom|>", "<|eot|>", "<|return|>", "<|call|>", "<|start|>", "<|channel|>")

#: A result that the model made up behind its call, and how it ends.
RESULTS = {"<tool_response>": "</tool_response>", "<function_results>": "</function_results>"}

#: The names that models give the parts of a call in JSON.
NAME_KEYS = ("name", "tool", "tool_name", "function", "recipient_name", "function_name", "action")
ARGUMENT_KEYS = ("arguments", "parameters", "args", "input", "params", "tool_input", "action_input")
#: What a call in JSON may begin with.
CALL_KEYS = (*NAME_KEYS, *ARGUMENT_KEYS, "type", "id", "index", "tool_calls", "tool_call_id")


_BLANKS = Run(" ", 0, 2)
_BARS = Run("[|｜]", 1, 2)
#: A family's name inside bars, as in `<｜DSML｜invoke`, or before a sign, as in `<seed:think>` and `<ifm|tool_call>`.
BARRED = (_BLANKS, _BARS, _BLANKS, Run("[a-z]", 2, 12), _BLANKS, _BARS, _BLANKS)
_PREFIXED = (Run(r"\w", 1, 16), OneOf((":", "|", "｜")))
PREFIX = OneOf((_PREFIXED, ""))
UNDERSCORED = (Run("[a-z]", 1, 16), "_")
_WORDS = OneOf(("tool_calls", "tool_call", "function_calls", "function_call", "toolcalls", "calls"))
_PARTS = OneOf(("function", "invoke", "parameter", "call", "tool"))

#: Wrappers, heads and closers in a family's own tags.
FAMILY_WRAPPERS: tuple[Pattern, ...] = tuple(
    ("<", family, _WORDS, ">") for family in (OneOf((BARRED,)), PREFIX, OneOf((UNDERSCORED,)))
)
FAMILY_HEADS: tuple[Pattern, ...] = (
    ("<", OneOf((BARRED, _PREFIXED)), OneOf(("invoke", "function", "call")), OneOf((" name=", "="))),
)
BARRED_CLOSERS: tuple[Pattern, ...] = (("<", _BLANKS, "/", *BARRED, OneOf((*_WORDS.choices, *_PARTS.choices)), ">"),)
FAMILY_CLOSERS: tuple[Pattern, ...] = (
    *BARRED_CLOSERS,
    ("</", PREFIX, OneOf((*_WORDS.choices, *_PARTS.choices)), ">"),
    ("</", *UNDERSCORED, _WORDS, ">"),
)


@dataclass(frozen=True, slots=True)
class Spelling:
    """Other characters than `<`, `</` and `>` for tags: what stands before and behind a tag's word.

    `divider` stands between the name and the value of an argument. `bare` says that a closing tag may have lost what
    marks it, where another marked tag follows.
    """

    opening: tuple[Pattern, Pattern]
    closing: tuple[Pattern, Pattern]
    divider: str = ""
    bare: bool = False


_MARK = "]<]minimax[>["
_SUFFIX = (":", Run(r"[\w-]", 1, 32), ">")
#: Sources: the chat templates of Kimi K3, MiniMax M3, PLaMo 3, Solar Open 2 and Hunyuan.
SPELLINGS = (
    Spelling((("<|open|>", _BLANKS), (_BLANKS, "<|sep|>")), (("<|close|>", _BLANKS), (_BLANKS, "<|sep|>"))),
    Spelling((f"{_MARK}<", ">"), (f"{_MARK}</", ">"), bare=True),
    Spelling(("<|plamo:begin_", ":plamo|>"), ("<|plamo:end_", ":plamo|>")),
    Spelling(("<|", ":start|>"), ("<|", ":end|>"), divider="<|tool_arg:value|>"),
    Spelling(("<", _SUFFIX), ("</", _SUFFIX)),
)
#: The words of tags that frame a message.
FRAME_WORDS = ("response", "message")
#: The words of tags that hold calls, and of those that are one unless there is one inside.
HOLDER_WORDS = ("tools", "tool_calls", "tool_requests", "function_calls")
CALL_WORDS = ("tool_call", "tool_request", "function_call", "call", "invoke")
#: What makes an opening of a thought its end, the first that is there.
ENDINGS = (("<|open|>", "<|close|>"), (":begin_", ":end_"), (":start|", ":end|"), ("[<", "[</"), ("<", "</"))


def tag(text: str) -> Pattern:
    """The pattern of a tag with either bar, and either character between its words."""
    parts: list[str | Run] = []
    for char in text:
        if char == "|":
            parts.append(Run("[|｜]", 1, 1))
        elif char == "_" and "|" in text:
            parts.append(Run("[_▁]", 1, 1))
        else:
            parts.append(char)
    return tuple(parts)
