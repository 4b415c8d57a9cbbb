"""Calls written in Python: read as literals by way of the syntax tree, never evaluated."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

from tools.openclaw_text.tape import Steps, Tape

DEPTH_CAP = 64


class BadPythonError(Exception):
    """This is not a call, or its arguments are more than literals."""


@dataclass(slots=True)
class PythonCall:
    """A call: its dotted name, its positional and its keyword arguments."""

    name: str
    positional: list[Any]
    keywords: dict[str, Any]


_TOKEN = re.compile(r"'''|\"\"\"|['\"\\#()\[\]{}]")
_QUOTES = ("'", '"')
_PARTNERS = {"(": ")", "[": "]", "{": "}"}
_ENDINGS = {
    "'": re.compile(r"['\\]"),
    '"': re.compile(r'["\\]'),
    "'''": re.compile(r"'''|\\"),
    '"""': re.compile(r'"""|\\'),
}
# Each is read once, to the end of the text where it has none: looked for from every quote that would take for ever.
_STRING = re.compile(
    r"(?<![A-Za-z])([A-Za-z]*+)("
    r"'''(?:[^\\']|\\.|'(?!''))*+(?:'''|\\?\Z)|\"\"\"(?:[^\\\"]|\\.|\"(?!\"\"))*+(?:\"\"\"|\\?\Z)|"
    r"'(?:\\.|[^'\\])*+(?:'|\\?\Z)|\"(?:\\.|[^\"\\])*+(?:\"|\\?\Z))",
    re.DOTALL,
)
_UNKNOWN_ESCAPE = re.compile(
    r"\\(\\|[nrtabfv0'\"\n]|[1-7]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U00(?:0\w|10)[0-9a-fA-F]{4})?"
)
_PARSER_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError)
_NAMES = {"true": True, "false": False, "null": None, "none": None}


def read_brackets(tape: Tape) -> Steps[str]:
    """Read from the bracket that stands at the tape's position to its partner, and return what was read.

    A list may lack its own bracket at the end of the text. Raises `BadPythonError` when the text ends before that or
    the brackets do not fit.
    """
    parts: list[str] = []
    closers: list[str] = []
    while True:
        match = _TOKEN.search(tape.text, tape.at)
        # A quote at the end may be the first of three.
        whole = match and (match.group() not in _QUOTES or match.end() + 2 <= len(tape.text) or tape.ended)
        end = match.end() if match and whole else match.start() if match else len(tape.text)
        parts.append(tape.text[tape.at : end])
        tape.at = end
        if not match or not whole:
            if not (yield from tape.more()) and not match:
                return "".join(parts) + _last_closer(closers)
        elif match.group() in _ENDINGS:
            parts.append((yield from _rest_of_string(tape, match.group())))
        else:
            _nest(match.group(), closers)
            if not closers:
                return "".join(parts)


def _nest(bracket: str, closers: list[str]) -> None:
    if bracket in _PARTNERS:
        closers.append(_PARTNERS[bracket])
        if len(closers) > DEPTH_CAP:
            raise BadPythonError("it is nested too deeply")
    elif not closers or bracket != closers.pop():
        raise BadPythonError(f"{bracket!r} is not expected")


def _last_closer(closers: list[str]) -> str:
    if closers != ["]"]:
        raise BadPythonError("the text ends inside brackets")
    return "]"


def _rest_of_string(tape: Tape, quote: str) -> Steps[str]:
    parts: list[str] = []
    while True:
        match = _ENDINGS[quote].search(tape.text, tape.at)
        if match and match.group() != "\\":
            parts.append(tape.text[tape.at : match.end()])
            tape.at = match.end()
            return "".join(parts)
        end = match.start() if match else max(tape.at, len(tape.text) - len(quote) + 1)
        parts.append(tape.text[tape.at : end])
        tape.at = end
        if match and len(tape.text) - end >= 2:
            parts.append(tape.text[end : end + 2])
            tape.at = end + 2
        elif not (yield from tape.more()):
            raise BadPythonError("the text ends in a string")


def calls_in(source: str) -> list[PythonCall]:
    """Return the calls of an expression: one call, or a list of calls.

    Raises `BadPythonError` when it is anything else.
    """
    tree = _parse(source)
    nodes = tree.elts if isinstance(tree, ast.List | ast.Tuple) else [tree]
    if not nodes:
        raise BadPythonError("it calls nothing")
    return [_call(node) for node in nodes]


def literal(source: str) -> Any:
    """Return the value of a literal, JSON's words included. Raises `BadPythonError`."""
    return _value(_parse(source))


def statements(source: str) -> list[str]:
    """Return the expressions that the source consists of. Raises `BadPythonError` when there is anything else."""
    try:
        body = ast.parse(_STRING.sub(_mend, source.strip())).body
    except _PARSER_ERRORS as error:
        raise BadPythonError("it is not Python") from error
    if not all(isinstance(statement, ast.Expr) for statement in body):
        raise BadPythonError("it is more than expressions")
    return [ast.unparse(statement) for statement in body]


def _parse(source: str) -> ast.expr:
    try:
        return ast.parse(_STRING.sub(_mend, source.strip()), mode="eval").body
    except _PARSER_ERRORS as error:
        raise BadPythonError("it is not Python") from error


def _mend(match: re.Match[str]) -> str:
    """Keep line ends in strings, and escapes that Python does not know, which it would warn about."""
    prefix, string = match.groups()
    if prefix:
        return match.group()
    string = _UNKNOWN_ESCAPE.sub(lambda escape: escape.group() if escape.group(1) else "\\\\", string)
    if string.startswith(("'''", '"""')):
        return string
    return string.replace("\\\n", "\\n").replace("\n", "\\n").replace("\r", "\\r")


def _call(node: ast.expr) -> PythonCall:
    if not isinstance(node, ast.Call):
        raise BadPythonError("it is not a call")
    name = _dotted(node.func)
    if name == "print" and len(node.args) == 1 and not node.keywords and isinstance(node.args[0], ast.Call):
        return _call(node.args[0])
    keywords: dict[str, Any] = {}
    for keyword in node.keywords:
        value = _value(keyword.value)
        if keyword.arg is not None:
            keywords[keyword.arg] = value
        elif isinstance(value, dict):
            keywords.update(value)
        else:
            raise BadPythonError("`**` takes a dictionary")
    return PythonCall(name, [_value(argument) for argument in node.args], keywords)


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    raise BadPythonError("it calls no name")


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=str() | bool() | int() | None):
            return node.value
        case ast.Constant(value=float()) if node.value not in (float("inf"), float("-inf")):
            return node.value
        case ast.Name(id=name) if name.lower() in _NAMES:
            return _NAMES[name.lower()]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=int() | float() as number)):
            return -number if isinstance(node.op, ast.USub) else number
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {_key(key): _value(value) for key, value in zip(keys, values, strict=True)}
    raise BadPythonError("only literals can be arguments")


def _key(node: ast.expr | None) -> str:
    match node:
        case ast.Constant(value=str() as key):
            return key
        case ast.Constant(value=int() as key) if not isinstance(key, bool):
            return str(key)
    raise BadPythonError("only strings can be keys")
