"""Just enough of JSON5 to read a configuration that people wrote: comments, bare names, single quotes, last commas."""

import json
import re

_TOKEN = re.compile(
    r"""
    (?P<comment>//[^\n]*|/\*.*?\*/)
    | (?P<double>"(?:[^"\\]|\\.)*")
    | (?P<single>'(?:[^'\\]|\\.)*')
    | (?P<name>[A-Za-z_$][\w$]*)(?=\s*:)
    | (?P<comma>,)(?=(?:\s|//[^\n]*|/\*.*?\*/)*[}\]])
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def read(text: str) -> object:
    """Return what the text says. Raises ValueError where it is none of this."""
    return json.loads("".join(_as_json(match) for match in _TOKEN.finditer(text)))


def _as_json(match: "re.Match[str]") -> str:
    kind, text = match.lastgroup, match.group()
    if kind in {"comment", "comma"}:
        return " "
    if kind == "name":
        return json.dumps(text)
    if kind == "single":
        inner = text[1:-1].replace("\\'", "'")
        return '"' + re.sub(r'(?<!\\)"', r"\"", inner) + '"'
    return text.replace("\\\n", "") if kind == "double" else text
