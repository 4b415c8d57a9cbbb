"""Tool calls as text, the way each family of models writes them: a table of templates.

The names are those in common use for the formats. Nothing here is shared with the code that reads such text, so that
each checks the other.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Arguments = Mapping[str, Any]


def _json(arguments: Arguments) -> str:
    return json.dumps(arguments, ensure_ascii=False)


@dataclass(frozen=True)
class Format:
    """One format. In `call`, NAME, BODY and INDEX are filled in; BODY is the arguments as `body` writes them.

    `marker` finds a call written so, in a message of the transcript.
    """

    name: str
    call: str
    marker: str
    body: Callable[[Arguments], str] = _json
    before: str = ""
    between: str = "\n"
    after: str = ""
    one_call_only: bool = False

    def write(self, calls: Sequence[tuple[str, str]]) -> str:
        """The text of these calls, each a name and the body of its arguments."""
        written = (self._fill(index, name, body) for index, (name, body) in enumerate(calls))
        return self.before + self.between.join(written) + self.after

    def _fill(self, index: int, name: str, body: str) -> str:
        values = {"NAME": name, "BODY": body, "INDEX": str(index)}
        return re.sub("NAME|BODY|INDEX", lambda match: values[match[0]], self.call)


_TABLE = (Format("hermes_json", '<tool_call>\n{"name": "NAME", "arguments": BODY}\n</tool_call>', r"<tool_call>\s*\{"),)

FORMATS = {format_.name: format_ for format_ in _TABLE}

_ANY_MARKER = re.compile("|".join(f"(?:{format_.marker})" for format_ in _TABLE), re.MULTILINE)


def holds_call(text: str) -> bool:
    """Whether a call in any of the formats stands in the text."""
    return _ANY_MARKER.search(text) is not None


def shows_tool(prompt: str, name: str) -> bool:
    """Whether a prompt defines the tool: its name quoted, in a tag, or with a signature after it."""
    name = re.escape(name)
    return re.search(rf"""["'`<]{name}["'`>]|\b{name}\(""", prompt) is not None
