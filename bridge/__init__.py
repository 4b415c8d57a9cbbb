"""The bridge: shows Dify apps as OpenAI models, and holds the tickets until their results are there.

app       the application factory: everything is put together here
cli       the command line; what it runs is in commands/
config    the configuration        errors   all errors, and what to change

api       HTTP in: openai/ (clients), plugin, executor, operator, watch, health; access says which token opens what
runs      the core: runs and their attempts, tickets, sessions, executors, what a client is told
dify      HTTP out: Dify's service API
store     the tables and the statements
page      the web page         commands   init, doctor, package, ...         server   gunicorn, logs, metrics, ...

Imports go one way: app > page, commands, cli > server > api > runs > dify > store > config, errors.
"""

import sys
from importlib import import_module
from types import ModuleType


class _Executors(ModuleType):
    """The room `executor` under its former name, which modules of users import: `from bridge.executors import tool`."""

    def __getattr__(self, name: str) -> object:
        # Whoever looks through all modules for something of theirs is to load none.
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(import_module(__name__.removesuffix("bridge") + "executor"), name)


# httpx looks for its own command line, which would take megabytes that nobody needs.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

executors = sys.modules.setdefault(f"{__name__}.executors", _Executors(f"{__name__}.executors"))
