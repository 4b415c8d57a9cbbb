"""The page of every error that a client can get, read from the code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import bridge
from bridge.dify import errors as dify
from bridge.dify.failures import client_error
from bridge.errors import BridgeError

_BRIDGE = Path(bridge.__file__).parent
_PIECE = "…"


def errors_page(note: str) -> str:
    """Return the page."""
    raised = "\n".join(f"| {row[0]} | `{row[1]}` | `{row[2]}` | {row[3]} |" for row in sorted(set(_raised())))
    from_dify = "\n".join(
        f"| {status} | `{kind}` | `{code}` | {'yes' if waits else 'no'} | {meaning} |"
        for status, kind, code, waits, meaning in sorted(_from_dify())
    )
    return _PAGE.format(note=note, raised=raised, from_dify=from_dify)


def _kinds(base: type[Exception]) -> Iterator[type[Exception]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


def _first_line(kind: type[Exception]) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def _raised() -> Iterator[tuple[int, str, str, str]]:
    """Yield status, type, code and text of every error that the bridge raises with a code, its own or its kind's."""
    known = {kind.__name__: kind for kind in _kinds(BridgeError) if issubclass(kind, BridgeError)}
    for path in sorted(_BRIDGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            kind = known.get(node.func.id) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
            if kind is None or not isinstance(node, ast.Call) or not node.args:
                continue
            given = next((keyword.value for keyword in node.keywords if keyword.arg == "code"), None)
            code = kind.code if given is None else _text(given)
            text = _text(node.args[0])
            words = bool(text.strip(f"{_PIECE} :;"))
            if code and code != _PIECE and (words or given is not None):
                yield kind.status, kind.type, code, text if words else _first_line(kind)


def _text(node: ast.expr) -> str:
    """Return the literal text of a message; what is filled in is left as a gap."""
    match node:
        case ast.Constant(value=str(value)):
            text = value
        case ast.JoinedStr(values=values):
            text = "".join(_text(part) if isinstance(part, ast.Constant) else _PIECE for part in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            text = _text(left) + _text(right)
        case ast.Call(func=ast.Attribute(value=value)):
            text = _text(value)
        case _:
            text = _PIECE
    return text.replace("|", "\\|").replace("\n", " ")


def _from_dify() -> Iterator[tuple[int, str, str, bool, str]]:
    for kind in _kinds(dify.DifyError):
        if not issubclass(kind, dify.DifyError) or kind.__name__.startswith("_"):
            continue
        seen: BridgeError = client_error(kind("x"))
        waits = seen.retry_after is not None
        yield seen.status, seen.type, seen.code or "", waits, f"{_first_line(kind)} {kind.advice}".strip()


_PAGE = """\
# Errors

{note}
Errors use OpenAI's format. The header `X-Request-Id` holds the request's id, which is also in the bridge's log:

```json
{{"error": {{"message": "...", "type": "invalid_request_error", "param": "messages[0].content", "code": null}}}}
```

`message` says what to change, and `param` is the path of the wrong field. A field that is missing, has the wrong type
or is out of range gives a 400 of type `invalid_request_error` without a code. Once a stream has begun, the status is
200, and the error is its last event (`response.failed` in `/v1/responses`).

Each status makes clients behave sensibly. 401 only means a wrong bridge token, because some clients switch off the
whole provider on 401, 402 and 403. 403 is for requests that only commands on the bridge's own machine may send;
clients of the endpoint never get it. 429 and 503 carry `Retry-After` when waiting helps. 400, 404 and 422 need a
change.

## What the bridge refuses

| status | type | code | message |
|---|---|---|---|
{raised}

## What goes wrong in Dify or at the upstream

| status | type | code | waiting helps | what it means, and what to do |
|---|---|---|---|---|
{from_dify}
"""
