"""The one table of what OpenClaw acts on in an answer: what it executes, takes out, or obeys. The guards go by it.

Source: OpenClaw 2026.9.6.
"""

from __future__ import annotations

from tools.openclaw_text.formats import LINE_WORDS
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
