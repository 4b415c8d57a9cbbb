"""The one table of how calls are written as text. The reader, the guard and the writer all go by it.

Sources: the chat templates of the models named, and for what OpenClaw does with text its release 2026.9.6.
"""

from __future__ import annotations

from tools.openclaw_text.patterns import Endless, OneOf, Pattern, Run

#: What JavaScript's `\\s` matches, but for the line ends `\\n` and `\\r`; Python's differs (U+0085, U+001C and so on).
HORIZONTAL_BLANKS = (
    "\t\v\f \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
BLANKS = f"{HORIZONTAL_BLANKS}\n\r"
HORIZONTAL_SPACE = f"[{HORIZONTAL_BLANKS}]"
SPACE = f"[{BLANKS}]"
NAME = "[A-Za-z0-9_-]"

#: The words with which a harmony call may begin a line, once its special tokens are dropped.
LINE_WORDS = ("commentary", "analysis", "final")

_SPACES = Endless(SPACE)
_END = Run(f"(?:{SPACE}|[/>])", 1, 1)
_BAR = "[|｜]"
_SLASH = Run("/", 0, 1)

#: What OpenClaw executes when nothing else is in the answer. It takes no name of more than 120 characters.
EXECUTED: tuple[Pattern, ...] = (
    # `[exec]` or `[tool:exec]`, then an object or parameters.
    ("[", OneOf(("tool:", "")), Run(NAME), "]", _SPACES, OneOf(("{", "<parameter="))),
    (OneOf(LINE_WORDS), Endless("[ \t]", 1), "to=", Run(NAME), Endless("[ \t]", 1), "code"),
    ("<function=",),
    # Where the model is set up as one of DeepSeek's, this is executed wherever it stands.
    ("<", Run(_BAR, 1, 2), _SPACES, "DSML"),
)

#: What it takes out of the visible text without executing it: tags with a payload, their stray closers, marks of its
#: own, old notations. What stood at both sides of it is read as if nothing had been between.
REMOVED: tuple[Pattern, ...] = (
    (
        "<",
        _SPACES,
        _SLASH,
        _SPACES,
        OneOf(("antml:", "minimax:", "")),
        OneOf(("tool_call", "tool_result", "function_", "function=", "invoke", ("parameter", _END), "parameter=")),
    ),
    ("<", _SPACES, "function", Run(SPACE, 1, 1)),
    ("<", _SPACES, "/", _SPACES, "function", _END),
    ("<", _SPACES, _SLASH, _SPACES, "final", _END),
    ("<", _SPACES, _SLASH, _SPACES, "relevant", Run("[-_]", 1, 1), "memories"),
    ("<", _SPACES, _SLASH, _SPACES, OneOf(("system-reminder", "previous_response", "prompt-data", "untrusted-text"))),
    ("<<<", OneOf(("begin_", "end_"))),
    ("[", _SPACES, _SLASH, _SPACES, OneOf(("tool_call", "tool_result"))),
    ("[", OneOf(("tool call:", "tool result for id", "historical context:"))),
    ("\ue200cite",),
)

_PICTURED = (
    "session status,exec,read,edit,write,patch,search,open,click,find,screenshot,update plan,tool call,tool result,"
    "function call,shell,command"
)
_COMMANDS = (
    "` elevated pty run check fetch pull push view show list switch create merge rebase stage restore reset stash "
    "search find print copy move remove install start cd git pnpm npm yarn bun node python bash sh"
)
_PICTURE = Run("[📊🛠📖📝🔍🔎⚙]", 1, 1)
#: What it takes out with the rest of the line, where it begins one.
TRACES: tuple[Pattern, ...] = (
    (_PICTURE, Run("\ufe0f", 0, 1), _SPACES, OneOf(tuple(_PICTURED.split(","))), _SPACES, ":"),
    ("⚠️", _SPACES, _PICTURE),
    ("🛠️", _SPACES, OneOf(tuple(_COMMANDS.split()))),
    (OneOf(("tool", "function")), Run("[-_ ]", 0, 1), OneOf(("call", "result")), _SPACES, Run("[:=]", 1, 1)),
)

DEFUSED = EXECUTED + REMOVED

#: Marks that tell OpenClaw how to send an answer.
TAGS: tuple[Pattern, ...] = (
    ("[[", _SPACES, OneOf(("reply_to", "audio_as_voice"))),
    ("[[", _SPACES, _SLASH, _SPACES, "tts", Run(rf"(?:{SPACE}|[:\]])", 1, 1)),
)
#: Where it begins a line, an attachment follows.
ATTACHMENT = "media:"
#: An answer that begins or ends with one, or is nothing else, is not sent, or without it.
SILENCES = ("no_reply", "announce_skip", "reply_skip")
#: The same for the answer to a heartbeat, whatever stands before it at an answer's end.
ACKNOWLEDGEMENT = "heartbeat_ok"
#: An answer that begins so may be taken for a note of OpenClaw to itself, which is not sent.
NOTES: tuple[Pattern, ...] = (
    "no channel reply",
    "replied in-thread",
    "replied in #",
    ("updated", Endless(SPACE, 1), "["),
    ("set-thought", Endless(SPACE, 1), "<"),
    ("<", Endless("[A-Za-z0-9_]"), "|"),
    "───",
)

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

#: The head of a tag that stands around reasoning for OpenClaw, wherever it stands. Where it looks for calls and orders,
#: there is nothing in its place.
REASONING_NAMES = ("think", "thought", "reasoning", "internal", "antthinking")
REASONING: Pattern = (
    "<",
    _SPACES,
    _SLASH,
    _SPACES,
    OneOf(("antml:", "mm:", "")),
    OneOf(REASONING_NAMES),
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
