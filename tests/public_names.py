"""Every name that somebody outside may rely on, as the program itself has it: `.venv/bin/python -m tests.public_names`.

`public_names.txt` beside this file is what they were when they were last looked at, a section per kind of name.
"""

import ast
import re
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import clawback
import click
import yaml
from flask import Flask
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel

import tools.openclaw_text
import tools.wire
from bridge.api.openapi.document import document, routes
from bridge.app import create_app
from bridge.cli import main
from bridge.config import Config, parse
from bridge.dify.errors import DifyError
from bridge.dify.failures import client_error
from bridge.errors import BridgeError
from bridge.runs.tickets.policy import Rule
from bridge.server.metrics import Gauges, Metrics
from executor import openclaw as openclaw_tools
from tools.ticket_states import CallEvent, CallState, TicketState

ROOT = Path(__file__).resolve().parent.parent
FILE = Path(__file__).with_suffix(".txt")
ROOMS = ("bridge", "executor", "provider", "tools")

# What scripts outside this repository find by its name alone, wherever the file stands.
FOUND = {
    "*.py": {"Stack", "PluginProcess", "DaemonError"},
    "bridge_server.py": {
        *("TOKEN", "serving", "Bridge"),
        *("Bridge.answers", "Bridge.tickets", "Bridge.changed", "Bridge.settle"),
    },
}

# Headers that others defined have no prefix of their own by which one would know them.
_HEADER = re.compile(
    r"x-[a-z0-9-]+|__host-\S+|authorization|retry-after(-ms)?|last-event-id|session-id|traceparent|tracestate|origin"
    r"|sec-fetch-site|idempotency-key",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
_COOKIE = re.compile(r"clawback_[a-z]+")


@contextmanager
def _app() -> Iterator[Flask]:
    """The bridge as it is without any configuration."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(parse({"data_dir": folder}))
        try:
            yield app
        finally:
            app.extensions["clawback"].sweeper.stop()
            app.extensions["clawback"].store.close()


@cache
def _sources() -> list[tuple[str, list[ast.AST]]]:
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return [
        (source, list(ast.walk(ast.parse(source)))) for source in (path.read_text(encoding="utf-8") for path in paths)
    ]


def _nodes[Node: ast.AST](kind: type[Node], beside: str = "") -> Iterator[Node]:
    """Yield the nodes of a kind in all sources, or in those that hold the text `beside`."""
    for source, nodes in _sources():
        if beside in source:
            yield from (node for node in nodes if isinstance(node, kind))


def _texts(beside: str = "") -> Iterator[str]:
    """Yield every literal text."""
    yield from (node.value for node in _nodes(ast.Constant, beside) if isinstance(node.value, str))


def _shown(node: ast.expr | None) -> str | None:
    """Return a literal text, with `*` for what is filled in; None for anything else."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_shown(part) or "*" for part in values)
        case _:
            return None


def _one_of(name: str, values: Iterable[str]) -> Iterator[str]:
    """Yield the values that something can have, where they are a list."""
    if values := list(values):
        yield f"{name} = {' | '.join(values)}"


def _kinds[Kind](base: type[Kind]) -> Iterator[type[Kind]]:
    yield base
    for kind in base.__subclasses__():
        yield from _kinds(kind)


# What clients of the bridge see.


def _routes() -> Iterator[str]:
    with _app() as app:
        yield from (f"{method} {rule.rule}" for rule, method in routes(app))


def _operations() -> Iterator[str]:
    with _app() as app:
        for methods in document(app)["paths"].values():
            for operation in methods.values():
                yield operation["operationId"]
                yield from (
                    f"{operation['operationId']} ?{each['name']}"
                    for each in operation.get("parameters", ())
                    if each["in"] == "query"
                )


def _bodies() -> Iterator[str]:
    with _app() as app:
        for name, schema in document(app)["components"]["schemas"].items():
            yield name
            for field, about in schema.get("properties", {}).items():
                yield f"{name}.{field}"
                yield from _one_of(f"{name}.{field}", map(str, about.get("enum", ())))


def _codes() -> Iterator[str]:
    """Yield status, type and code of every error; of a code that is handed on to another class, the code alone."""
    errors = {kind.__name__: kind for kind in _kinds(BridgeError)}
    for kind in errors.values():
        yield f"{kind.status} {kind.type} {kind.code or '-'}"
    for each in _kinds(DifyError):
        seen = client_error(each("x"))
        yield f"{seen.status} {seen.type} {seen.code or '-'}"
    for call in _nodes(ast.Call):
        given = next((_shown(keyword.value) for keyword in call.keywords if keyword.arg == "code"), None)
        raised = errors.get(call.func.id) if isinstance(call.func, ast.Name) else None
        if given:
            yield f"{raised.status} {raised.type} {given}" if raised else given


def _headers() -> Iterator[str]:
    yield from (text.lower() for text in _texts() if _HEADER.fullmatch(text))


def _cookies() -> Iterator[str]:
    yield from (text for text in _texts("cookie") if _COOKIE.fullmatch(text))


# What operators of the bridge see.


def _metrics() -> Iterator[str]:
    metrics = Metrics()
    for metric in metrics.registry._collector_to_names:
        if isinstance(metric, MetricWrapperBase):
            yield f"{metric._type} {metric._name} {' '.join(metric._labelnames)}".strip()
    with _app() as app:
        for family in Gauges(app.extensions["clawback"].figures).collect():
            labels = getattr(family, "_labelnames", ())
            yield f"{family.type} {family.name} {' '.join(labels)}".strip()


def _states() -> Iterator[str]:
    for kind in (CallState, CallEvent, TicketState):
        yield from (f"{kind.__name__} {each}" for each in kind)


def _logs() -> Iterator[str]:
    for call in _nodes(ast.Call):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        logger = _shown(call.args[0]) if name == "getLogger" and call.args else None
        if logger and logger.startswith("clawback"):
            yield logger
        for keyword in call.keywords:
            if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
                yield from (f"+ {_shown(key)}" for key in keyword.value.keys)


def _traces() -> Iterator[str]:
    yield from (text for text in _texts("from opentelemetry") if re.fullmatch(r"(clawback|http)\.[a-z._]+", text))


# What is set.


def _keys(model: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield above + name
        yield from _one_of(above + name, _choices(field.annotation))
        for inner in _models(field.annotation):
            yield from _keys(inner, f"{above}{name}.")


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield a type and all that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _choices(annotation: Any) -> Iterator[str]:
    for part in _parts(annotation):
        if get_origin(part) is Literal:
            yield from map(str, get_args(part))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield part


def _variables() -> Iterator[str]:
    """Yield the environment variables that commands or the code itself read."""
    for _, command in _commands(main, "clawback"):
        for option in command.params:
            yield from [option.envvar] if isinstance(option.envvar, str) else option.envvar or ()
    for call in _nodes(ast.Call):
        if ast.unparse(call.func) in {"os.environ.get", "os.getenv"}:
            yield from (text for each in call.args if (text := _shown(each)) and _VARIABLE.fullmatch(text))


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for each in command.list_commands(context):
            if inner := command.get_command(context, each):
                yield from _commands(inner, f"{name} {each}")


def _flags() -> Iterator[str]:
    for name, command in _commands(main, "clawback"):
        yield name
        for each in command.params:
            is_option = isinstance(each, click.Option)
            shown = "/".join(each.opts + each.secondary_opts) if is_option else (each.name or "").upper()
            yield f"{name} {shown}"
            if isinstance(each.type, click.Choice):
                yield from _one_of(f"{name} {shown}", each.type.choices)


# What the plugin and the bridge say to each other, and what Dify shows of the plugin.


def _wire() -> Iterator[str]:
    seen: set[type[BaseModel]] = set()
    left = [each for each in vars(tools.wire).values() if isinstance(each, type) and issubclass(each, BaseModel)]
    while left:
        model = left.pop()
        if model in seen or not model.__module__.startswith("tools."):
            continue
        seen.add(model)
        for name, field in model.model_fields.items():
            shown = f"{model.__name__}.{field.alias or name}"
            yield shown
            yield from _one_of(shown, _choices(field.annotation))
            left += _models(field.annotation)
    yield f"protocol {tools.wire.PROTOCOL}"


def _yaml(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def _credentials() -> Iterator[str]:
    provider = _yaml("provider/clawback.yaml")
    yield f"provider {provider['provider']}"
    for form in ("provider_credential_schema", "model_credential_schema"):
        for field in provider[form]["credential_form_schemas"]:
            yield f"{form} {field['variable']}"
            yield from _one_of(f"{form} {field['variable']}", (each["value"] for each in field.get("options", ())))


def _parameters() -> Iterator[str]:
    for name in ("main", "light"):
        model = _yaml(f"provider/models/llm/{name}.yaml")
        yield model["model"]
        for rule in model.get("parameter_rules", ()):
            yield f"{model['model']} {rule['name']}"
            yield from _one_of(f"{model['model']} {rule['name']}", rule.get("options", ()))


# What is installed.


def _installed() -> Iterator[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    yield from (f"command {name}" for name in project["scripts"])
    yield from (f"extra {name}" for name in project["optional-dependencies"])
    yield from (f"entry points {group} {name}" for group, names in project["entry-points"].items() for name in names)
    yield f"model {openclaw_tools.PROVIDER}/{openclaw_tools.MODEL}"


def _imported() -> Iterator[str]:
    """Yield what others import: users what the package offers, and scripts that find our parts by their names alone."""
    yield from (f"clawback.{name}" for name in clawback.__all__)
    yield from (f"tools.openclaw_text.{name}" for name in tools.openclaw_text.__all__)
    for pattern, names in FOUND.items():
        for path in (path for room in (*ROOMS, "demo", "tests") for path in (ROOT / room).rglob(pattern)):
            yield from (f"{pattern} {name}" for name in names.intersection(_defined(path)))


def _defined(path: Path) -> Iterator[str]:
    """Yield what a module defines, and what its classes do."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.ClassDef(name=name):
                yield name
                yield from (f"{name}.{inner}" for each in node.body for inner in _names(each))
            case _:
                yield from _names(node)


def _names(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name):
            yield name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            yield name


SECTIONS: dict[str, Callable[[], Iterator[str]]] = {
    "routes": _routes,
    "operations": _operations,
    "bodies": _bodies,
    "error codes": _codes,
    "headers": _headers,
    "cookies": _cookies,
    "metrics": _metrics,
    "states": _states,
    "loggers and their fields": _logs,
    "span attributes": _traces,
    "configuration": lambda: _keys(Config),
    "policy": lambda: _keys(Rule, "rules."),
    "environment variables": _variables,
    "commands": _flags,
    "wire fields": _wire,
    "credentials": _credentials,
    "parameters": _parameters,
    "installed": _installed,
    "imported": _imported,
}


def written() -> str:
    """Return the file as it would be now."""
    sections = (f"[{kind}]\n" + "\n".join(sorted(set(names()))) for kind, names in SECTIONS.items())
    return "\n\n".join(sections) + "\n"


def read(text: str) -> dict[str, set[str]]:
    """Return the sections of a file's text."""
    sections: dict[str, set[str]] = {}
    for part in text.split("\n\n"):
        heading, *names = part.strip().splitlines()
        sections[heading.strip("[]")] = set(names)
    return sections


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
