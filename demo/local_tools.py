"""Tools that run on this machine, inside one folder."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXEC_SECONDS = 30


def _definition(name: str, description: str, **parameters: str) -> dict[str, Any]:
    properties = {key: {"type": "string", "description": text} for key, text in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(parameters), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


DEFINITIONS = [
    _definition("read", "Read a text file.", path="the file, relative to the working folder"),
    _definition("write", "Write a text file.", path="the file, relative to the working folder", content="its new text"),
    _definition("exec", "Run a shell command in the working folder.", command="the command line"),
]


class LocalTools:
    """`read`, `write` and `exec`, with names as OpenClaw's. What lies outside `folder` is refused."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._tools: dict[str, Callable[..., str]] = {"read": self._read, "write": self._write, "exec": self._exec}

    def run(self, name: str, arguments: dict[str, Any]) -> str:
        """Run a tool and return its output; an error is an output too, as the model has to learn of it."""
        tool = self._tools.get(name)
        if tool is None:
            return f"Tool {name} not found"
        try:
            return tool(**arguments)
        except (OSError, TypeError, ValueError, subprocess.SubprocessError) as error:
            return f"Error: {error}"

    def _inside(self, path: str) -> Path:
        found = (self._folder / path).resolve()
        if not found.is_relative_to(self._folder):
            raise ValueError(f"{path} lies outside the working folder")
        return found

    def _read(self, path: str) -> str:
        return self._inside(path).read_text()

    def _write(self, path: str, content: str) -> str:
        target = self._inside(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        return f"Successfully wrote {len(content.encode())} bytes to {path}"

    def _exec(self, command: str) -> str:
        done = subprocess.run(  # noqa: S602 - a shell command is what this tool is for
            command, shell=True, cwd=self._folder, capture_output=True, text=True, timeout=EXEC_SECONDS, check=False
        )
        output = (done.stdout + done.stderr).strip() or "(no output)"
        return output if done.returncode == 0 else f"{output}\n\n(Command exited with code {done.returncode})"
