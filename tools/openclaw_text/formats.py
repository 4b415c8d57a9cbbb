"""The one table of how calls are written as text. The reader and the writer go by it.

Sources: the chat templates of the models named. What OpenClaw does with text stands in `deeds`.
"""

from __future__ import annotations

from tools.openclaw_text.patterns import Pattern, Run

#: The words with which a harmony call may begin a line, once its special tokens are dropped.
LINE_WORDS = ("commentary", "analysis", "final")

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
