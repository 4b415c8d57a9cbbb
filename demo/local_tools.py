"""Tools that run on this machine, inside one folder. They are written as any tool of a Python executor is."""

import json
import subprocess
from pathlib import Path
from typing import Any

from executor import tool
from executor.python import PythonTools, Tool
from executor.toolbox import LeasedCall

EXEC_SECONDS = 30


def tools_in(folder: Path) -> list[Tool]:
    """Return `read`, `write` and `exec`, with names as OpenClaw's. What lies outside `folder` is refused."""
    folder = folder.resolve()

    def inside(path: str) -> Path:
        found = (folder / path).resolve()
        if not found.is_relative_to(folder):
            raise ValueError(f"{path} lies outside the working folder")
        return found

    @tool(read_only=True)
    def read(path: str) -> str:
        """Read a text file.

        Args:
            path: the file, relative to the working folder
        """
        return inside(path).read_text()

    @tool
    def write(path: str, content: str) -> str:
        """Write a text file.

        Args:
            path: the file, relative to the working folder
            content: its new text
        """
        target = inside(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        return f"Successfully wrote {len(content.encode())} bytes to {path}"

    @tool(name="exec")
    def execute(command: str) -> str:
        """Run a shell command in the working folder.

        Args:
            command: the command line
        """
        done = subprocess.run(  # noqa: S602 - a shell command is what this tool is for
            command, shell=True, cwd=folder, capture_output=True, text=True, timeout=EXEC_SECONDS, check=False
        )
        output = (done.stdout + done.stderr).strip() or "(no output)"
        return output if done.returncode == 0 else f"{output}\n\n(Command exited with code {done.returncode})"

    return [read, write, execute]


class LocalTools:
    """Runs the tools for a client of the endpoint, which needs no lease."""

    def __init__(self, folder: Path, *more: Tool) -> None:
        tools = [*tools_in(folder), *more]
        self.definitions = [{"type": "function", "function": each.definition()["function"]} for each in tools]
        self._tools = PythonTools(tools)

    def run(self, name: str, arguments: dict[str, Any]) -> str:
        """Run a tool and return its output; an error is an output too, as the model has to learn of it."""
        call = LeasedCall(lease_id="", tool_call_id="local", name=name, arguments=json.dumps(arguments), run_id="")
        return self._tools.run(call).output


DEFINITIONS = LocalTools(Path()).definitions
