"""Tools without a schema that the client runs, as functions. Anthropic's own models know them by their types.

    type           what the client runs                    its calls
    -------------  --------------------------------------  -----------------------------------------------------
    bash_*         commands in one shell                   a command, or a restart of the shell
    text_editor_*  the commands of an editor of files      until 2025-01-24 with `undo_edit`; what is inserted is
                                                           `new_str` there, and `insert_text` since
    memory_*       those commands, below `/memories`       with `delete` and `rename`

`computer_*` is not among them: its models are trained to point at places in a screenshot. Source: Anthropic's API
reference, tools, and its Python SDK.
"""

import re
from typing import Any

from tools.definitions import Function

_TYPE = re.compile(r"(bash|text_editor|memory)_(\d{8})")
_WITHOUT_UNDO = "20250429"

_TEXT, _NUMBER = {"type": "string"}, {"type": "integer"}
_BASH = {
    "command": _TEXT | {"description": "The command to run; needed unless the shell is restarted."},
    "restart": {"type": "boolean", "description": "Whether to restart the shell instead."},
}
_FILES = {
    "path": _TEXT | {"description": "The absolute path of a file or folder."},
    "view_range": {"type": "array", "items": _NUMBER, "description": "view: the first and last line; -1 is the end."},
    "file_text": _TEXT | {"description": "create: what the file is to hold."},
    "old_str": _TEXT | {"description": "str_replace: the text to replace. It must occur exactly once."},
    "new_str": _TEXT | {"description": "str_replace: what takes its place."},
    "insert_line": _NUMBER | {"description": "insert: the line to insert behind; 0 is the beginning."},
}
_INSERTED = {"insert_text": _TEXT | {"description": "insert: the text to insert."}}
_INSERTED_BEFORE = {
    "new_str": _TEXT | {"description": "str_replace: what takes its place. insert: the text to insert."}
}
_MOVED = {
    "old_path": _TEXT | {"description": "rename: what it is called."},
    "new_path": _TEXT | {"description": "rename: what it is to be called."},
}
_EDITS = ("view", "create", "str_replace", "insert")


def runs_at_client(kind: str | None) -> bool:
    """Say whether this is the type of a tool that the client runs."""
    return kind is not None and _TYPE.fullmatch(kind) is not None


def function_of(kind: str, name: str) -> Function:
    """Return the function that a tool of this type is."""
    tool, _, version = kind.rpartition("_")
    match tool:
        case "bash":
            told, parameters = "Run a command in a shell on the user's machine.", _schema(_BASH)
        case "memory":
            told = (
                "Keep what is to be remembered later in files below `/memories`. View that folder before anything else."
            )
            commands = _commands(*_EDITS, "delete", "rename")
            parameters = _schema({**commands, **_FILES, **_INSERTED, **_MOVED}, "command")
        case _:
            told = "View, create and edit files on the user's machine."
            old = version < _WITHOUT_UNDO
            commands = _commands(*_EDITS, *(("undo_edit",) if old else ()))
            inserted = _INSERTED_BEFORE if old else _INSERTED
            parameters = _schema({**commands, **_FILES, **inserted}, "command", "path")
    return Function(name=name, description=told, parameters=parameters)


def _commands(*names: str) -> dict[str, Any]:
    return {"command": {"type": "string", "enum": list(names)}}


def _schema(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}
