'''Functions as tools.

    from clawback import tool

    @tool(read_only=True)
    def weather(city: str, days: int = 1) -> str:
        """Tell the weather of a city.

        Args:
            city: its name, in English
            days: how far to look ahead
        """
        return ...

`clawback executor python weather_module` runs the tools of a module. A package offers its own as entry points of the
group `clawback.tools`, each a tool or a module of tools; `clawback executor python` without a module runs all of these.
'''

import asyncio
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, cast, overload

from pydantic import BaseModel, TypeAdapter, ValidationError

from executor.toolbox import LeasedCall, ToolboxError
from tools.results import ToolResult

GROUP = "clawback.tools"

_PARAMETER = re.compile(r"^\s*(?::param\s+)?(\w+)\s*(?:\([^)]*\))?\s*:\s*(.+)$")
_SECTION = re.compile(r"^\s*(Args|Arguments|Parameters|Returns|Raises|Yields|Example|Examples)\s*:?\s*$")


class Tool:
    """A function that a model may call. It stays callable as before."""

    def __init__(self, function: Callable[..., Any], name: str | None = None, *, read_only: bool = False) -> None:
        self._function = function
        self._adapter: TypeAdapter[Any] = TypeAdapter(cast(Any, function))
        self.name = name or function.__name__
        self.read_only = read_only
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self._function(*args, **kwargs)

    def definition(self) -> dict[str, Any]:
        """Return the tool in OpenAI's form; the schema follows from the type hints, the words from the docstring."""
        description, parameters = _read_docstring(inspect.getdoc(self._function) or "")
        schema = self._adapter.json_schema()
        for name, text in parameters.items():
            if name in schema.get("properties", {}):
                schema["properties"][name].setdefault("description", text)
        function = {"name": self.name, "description": description, "parameters": schema}
        return {"type": "function", "function": function, "read_only": self.read_only}

    def run(self, call: LeasedCall) -> ToolResult:
        """Call the function with the model's arguments, checked against the type hints."""
        try:
            outcome = self._adapter.validate_json(call.arguments)
            if inspect.isawaitable(outcome):
                outcome = asyncio.run(_awaited(outcome))
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, problem['loc'])) or 'the arguments'}: {problem['msg']}"
                for problem in error.errors(include_url=False, include_input=False)
            ]
            return call.result(f"Error: {'; '.join(problems)}", is_error=True)
        except Exception as error:
            return call.result(f"Error: {type(error).__name__}: {error}", is_error=True)
        return call.result(_as_output(outcome))


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...


@overload
def tool(*, name: str | None = None, read_only: bool = False) -> Callable[[Callable[..., Any]], Tool]: ...


def tool(
    function: Callable[..., Any] | None = None, /, *, name: str | None = None, read_only: bool = False
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a function a tool. `read_only` says that it changes nothing, so that nobody needs to be asked."""
    if function is not None:
        return Tool(function)
    return lambda decorated: Tool(decorated, name, read_only=read_only)


class PythonTools:
    """A toolbox of functions."""

    def __init__(self, found: Iterable[Tool]) -> None:
        self._tools = {each.name: each for each in found}

    def definitions(self) -> list[dict[str, Any]]:
        """Return the tools by name."""
        return [self._tools[name].definition() for name in sorted(self._tools)]

    def run(self, call: LeasedCall) -> ToolResult:
        """Run the function of that name."""
        found = self._tools.get(call.name)
        return found.run(call) if found else call.result(f"Error: there is no tool {call.name}", is_error=True)

    def close(self) -> None:
        """Nothing to let go of."""


def load(modules: Iterable[str]) -> PythonTools:
    """Return the tools of these modules, or without any, those that installed packages offer. Raises ToolboxError."""
    names = list(modules)
    found: list[Tool] = []
    for name in names:
        try:
            found.extend(_tools_of(_imported(name)))
        except ImportError as error:
            raise ToolboxError(f"the module {name} cannot be imported: {error}") from None
    if not names:
        for entry in entry_points(group=GROUP):
            found.extend(_tools_of(entry.load()))
    if not found:
        where = ", ".join(names) or f"the entry points of the group {GROUP}"
        raise ToolboxError(f"there is no tool in {where}: decorate a function with @tool (from clawback import tool)")
    return PythonTools(found)


def _imported(name: str) -> ModuleType:
    """Import a module; one that lies in the current folder comes first, where a command's own script does not look."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return _beside(name, here) or import_module(name)


def _beside(name: str, folder: str) -> ModuleType | None:
    """Import a module of `folder` whose name something has that runs here already, and that goes on having it."""
    loaded, found = sys.modules.get(name), None if "." in name else PathFinder.find_spec(name, [folder])
    if loaded is None or found is None or found.origin in {None, getattr(loaded.__spec__, "origin", None)}:
        return None
    spec = spec_from_file_location(
        f"{name}_of_this_folder", found.origin, submodule_search_locations=found.submodule_search_locations
    )
    if spec is None or spec.loader is None:
        return None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _tools_of(thing: Any) -> list[Tool]:
    if isinstance(thing, Tool):
        return [thing]
    if isinstance(thing, ModuleType):
        return [value for value in vars(thing).values() if isinstance(value, Tool)]
    return []


async def _awaited(outcome: Any) -> Any:
    return await outcome


def _as_output(outcome: Any) -> Any:
    if outcome is None:
        return "(no output)"
    if isinstance(outcome, str):
        return outcome
    if isinstance(outcome, list) and outcome and all(isinstance(part, dict) and "type" in part for part in outcome):
        return outcome
    if isinstance(outcome, BaseModel):
        return outcome.model_dump_json()
    return json.dumps(outcome, ensure_ascii=False, default=str)


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return the description, and what is said of each parameter (Google's style, or `:param name:`)."""
    description: list[str] = []
    parameters: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        heading = _SECTION.match(line)
        if heading:
            section = heading[1]
            continue
        named = _PARAMETER.match(line)
        if named and (section in {"Args", "Arguments", "Parameters"} or line.lstrip().startswith(":param")):
            parameters[named[1]] = named[2].strip()
        elif not section and not line.lstrip().startswith(":"):
            description.append(line)
    return "\n".join(description).strip(), parameters
