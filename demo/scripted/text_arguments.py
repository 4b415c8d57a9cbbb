"""The arguments of a call, in the syntaxes that `demo.scripted.text_formats` puts around them."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Arguments = Mapping[str, Any]
Body = Callable[[Arguments], str]


def as_json(value: Any) -> str:
    """`{"q": "a", "n": 1}`"""
    return json.dumps(value, ensure_ascii=False)


def python_keywords(arguments: Arguments) -> str:
    """`q='a', n=1, b=True`"""
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def json_keywords(arguments: Arguments) -> str:
    """`q="a", n=1, b=true`"""
    return ", ".join(f"{name}={as_json(value)}" for name, value in arguments.items())


def parameter_lines(arguments: Arguments) -> str:
    """`<parameter=q>`, the value, `</parameter>`, each on a line of its own"""
    return "".join(f"<parameter={name}>\n{_raw(value)}\n</parameter>\n" for name, value in arguments.items())


def parameter_tags(arguments: Arguments) -> str:
    """`<parameter name="q">a</parameter>`"""
    return "".join(f'<parameter name="{name}">{_raw(value)}</parameter>\n' for name, value in arguments.items())


def arg_pairs(arguments: Arguments) -> str:
    """`<arg_key>q</arg_key>`, `<arg_value>a</arg_value>`, each on a line of its own"""
    return "".join(
        f"<arg_key>{name}</arg_key>\n<arg_value>{_raw(value)}</arg_value>\n" for name, value in arguments.items()
    )


def dsml_parameters(arguments: Arguments) -> str:
    """`<｜DSML｜parameter name="q" string="true">a</｜DSML｜parameter>`"""
    return "".join(
        f'<｜DSML｜parameter name="{name}" string="{kind}">{_raw(value)}</｜DSML｜parameter>\n'
        for name, value in arguments.items()
        for kind in [as_json(isinstance(value, str))]
    )


def step_parameters(arguments: Arguments) -> str:
    """`<steptml:parameter name="q">a</steptml:parameter>`"""
    return "".join(
        f'<steptml:parameter name="{name}">{_raw(value)}</steptml:parameter>' for name, value in arguments.items()
    )


def nested_tags(arguments: Arguments) -> str:
    """`<q>a</q>`; an object nests, a list repeats its tag"""
    return "".join(f"<{name}>{_inside(each)}</{name}>\n" for name, each in _each_value(arguments))


def yaml_lines(arguments: Arguments) -> str:
    """`q: "a"` and `n: 1`, each on a line of its own"""
    return "".join(f"{name}: {as_json(value)}\n" for name, value in arguments.items())


def quoted_object(arguments: Arguments) -> str:
    """`{q:<|"|>a<|"|>,n:1}`"""
    return _object(arguments, '<|"|>')


def escaped_object(arguments: Arguments) -> str:
    """`{q:<escape>a<escape>,n:1}`"""
    return _object(arguments, "<escape>")


def _raw(value: Any) -> str:
    return value if isinstance(value, str) else as_json(value)


def _each_value(arguments: Arguments) -> Iterable[tuple[str, Any]]:
    for name, value in arguments.items():
        yield from ((name, each) for each in (value if isinstance(value, list) else [value]))


def _inside(value: Any) -> str:
    return f"\n{nested_tags(value)}" if isinstance(value, dict) else _raw(value)


def _object(value: Any, quote: str) -> str:
    if isinstance(value, str):
        return f"{quote}{value}{quote}"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{_object(each, quote)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_object(each, quote) for each in value) + "]"
    return as_json(value)
