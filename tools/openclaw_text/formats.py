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
