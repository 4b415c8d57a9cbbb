"""The one table of how calls are written as text. The reader, the guard and the writer all go by it.

Sources: the chat templates of the models named, and for what OpenClaw does with text its release 2026.9.6.
"""

from __future__ import annotations

from tools.openclaw_text.patterns import OneOf, Pattern, Run

#: What JavaScript's `\\s` matches; Python's differs (U+0085, U+001C and so on).
SPACE = "[\\t\\n\\v\\f\\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]"
#: The same without line ends.
HORIZONTAL_SPACE = "[\\t\\v\\f \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]"
NAME = "[A-Za-z0-9_-]"

#: The words with which a harmony call may begin a line, once its special tokens are dropped.
LINE_WORDS = ("commentary", "analysis", "final")

_SPACES = Run(SPACE, 0, 256)
_MANY_SPACES = Run(SPACE, 257, 257)
_GAP = Run("[ \\t]", 1, 64)

#: What OpenClaw executes when nothing else is in the answer.
EXECUTED: tuple[Pattern, ...] = (
    # `[exec]` or `[tool:exec]`, then an object or parameters. White space without end is taken for an opener, so that
    # nobody waits for ever.
    (
        "[",
        OneOf(("tool:", "")),
        Run(NAME),
        "]",
        OneOf(((_SPACES, OneOf(("{", "<parameter="))), (_MANY_SPACES,))),
    ),
    (OneOf(LINE_WORDS), _GAP, "to=", Run(NAME), _GAP, "code"),
    ("<function=",),
    ("<", OneOf(("|", "｜")), Run(SPACE, 0, 1), "DSML"),
)

#: What it takes out of the visible text without executing it: tags with a payload, their stray closers, special
#: tokens, old notations.
REMOVED: tuple[Pattern, ...] = (
    (
        "<",
        Run(SPACE, 0, 8),
        OneOf(("/", "")),
        Run(SPACE, 0, 8),
        OneOf(("antml:", "minimax:", "")),
        OneOf(("tool_call", "tool_result", "function_", "function=", "invoke", "parameter=", "parameter name")),
    ),
    ("<", Run(SPACE, 0, 8), "function", Run(SPACE, 1, 8), "name"),
    ("</function>",),
    ("</parameter>",),
    ("[", Run(SPACE, 0, 8), OneOf(("/", "")), Run(SPACE, 0, 8), OneOf(("tool_call", "tool_result"))),
    ("<", OneOf(("|", "｜")), Run("[A-Za-z_▁]", 1, 40), OneOf(("|", "｜")), ">"),
    ("[", OneOf(("tool call:", "tool result for id", "historical context:"))),
)

DEFUSED = EXECUTED + REMOVED

# What the reader goes by. In a tag, `|` stands for either bar and `_` for the underscore or U+2581, as DeepSeek writes.

#: Tags behind which one or more calls stand, in whatever notation.
WRAPPERS = (
    "<tool_call>",
    "<tool_calls>",
    "<function_call>",
    "<function_calls>",
    "<minimax:tool_call>",
    "<seed:tool_call>",
    "<dots_function_call>",
    "<longcat_tool_call>",
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
    "<|dsml|function_calls>",
    "<|dsml|tool_calls>",
    "<|dsml|toolcalls>",
    "<|dsml|calls>",
    "<atem:function_calls>",
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
    "<|dsml|invoke name=",
    "<steptml:invoke name=",
    "<atem:invoke name=",
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

#: What may stand behind a call and says nothing: closers, stop tokens.
CLOSERS = (
    "</tool_call>",
    "</tool_calls>",
    "</function>",
    "</function_call>",
    "</function_calls>",
    "</invoke>",
    "</call>",
    "</tool>",
    "</minimax:tool_call>",
    "</seed:tool_call>",
    "</dots_function_call>",
    "</longcat_tool_call>",
    "</steptml:invoke>",
    "</toolcall>",
    "</tool_code>",
    "</tool_use>",
    "</arguments>",
    "<tool_call|>",
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
    "<|call|>",
    "<|end|>",
    "<|eom|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|eot|>",
    "<|im_end|>",
    "<|end_of_sentence|>",
    "</|dsml|invoke>",
    "</|dsml|function_calls>",
    "</|dsml|tool_calls>",
    "</|dsml|calls>",
    "</atem:function_calls>",
    "</atem:invoke>",
    "</s>",
    "[/TOOL_CALLS]",
    "[END_TOOL_REQUEST]",
    "[TOOL_REQUEST_END]",
    "[END_TOOL_RESULT]",
    "[/TOOL_REQUEST]",
)

#: Tokens that frame messages and are no text.
FRAMES = (
    "<|message|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|eom|>",
    "<|start_response|>",
    "<|end_response|>",
    "<|start_text|>",
    "<|end_text|>",
)

#: Where thinking begins, and how it ends then.
THOUGHTS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<|start_thinking|>": "<|end_thinking|>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
}

#: A result that the model made up behind its call, and how it ends.
RESULTS = {"<tool_response>": "</tool_response>", "<function_results>": "</function_results>"}

#: The names that models give the parts of a call in JSON.
NAME_KEYS = ("name", "tool", "tool_name", "function", "recipient_name", "function_name", "action")
ARGUMENT_KEYS = ("arguments", "parameters", "args", "input", "params", "tool_input", "action_input")
#: What a call in JSON may begin with.
CALL_KEYS = (*NAME_KEYS, *ARGUMENT_KEYS, "type", "id", "index", "tool_calls", "tool_call_id")


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
        if text.startswith(("<|dsml", "</|dsml")) and char == "|":
            parts.append(Run(" ", 0, 2))
    return tuple(parts)
