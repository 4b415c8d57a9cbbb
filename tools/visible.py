"""Shows the characters that a terminal obeys instead of showing them, or that put a line into another order.

What others name or say (executors, tools, models, errors) goes through here on its way to a terminal or a log.
"""

import re

_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
"""Controls, what writes from right to left, invisible characters and halves of surrogate pairs.

Without the joiners of emoji and of scripts that need them, and the marks that choose a variant of a character.
"""


def visible(text: str, *, lines: bool = False) -> str:
    r"""Return the text with each such character as Python would write it, `\x1b` or `\u202e`.

    `lines` keeps line breaks and tabs, for a text that is shown by itself: within a line they could begin another.
    """
    return _HIDDEN.sub(lambda found: _escaped(found[0], lines), text)


def visible_json(text: str) -> str:
    """Return a JSON text that says the same to a program, and shows its hidden characters to a terminal."""
    return _HIDDEN.sub(lambda found: _escaped_in_json(found[0]), text)


def _escaped(character: str, lines: bool) -> str:
    if lines and character in "\n\t":
        return character
    return character.encode("unicode_escape").decode("ascii")


def _escaped_in_json(character: str) -> str:
    if character < " ":
        # Not within a string: there JSON allows none.
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
