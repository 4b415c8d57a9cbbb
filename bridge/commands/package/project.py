"""The plugin's own pyproject.toml, derived from the repository's: what the daemon installs, nothing of the bridge."""

import json
import tomllib
from pathlib import Path

# Where Dify's daemon runs: its images (the manifest's two architectures), and the Macs of people who work on Dify.
# Naming them keeps the wheels of all other platforms out of the plugin's lock, which is most of the package's weight.
PLATFORMS = (
    "sys_platform == 'linux' and platform_machine == 'x86_64'",
    "sys_platform == 'linux' and platform_machine == 'aarch64'",
    "sys_platform == 'darwin' and platform_machine == 'arm64'",
)


def plugin_project(pyproject: Path, *, is_tools: bool = False) -> str:
    """The text of a plugin's pyproject.toml, from the repository's `pyproject`; Clawback Tools needs the SDK alone."""
    # The daemon makes every plugin's environment with Python 3.12; a lock for others too would be three times as large.
    repository = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    project, dependencies = repository["project"], repository["dependency-groups"]["plugin"]
    if is_tools:
        project, dependencies = project | {"name": f"{project['name']}-tools"}, dependencies[:1]
    return f"""\
# Derived by scripts/lock from Clawback's own pyproject.toml.
[project]
name = {json.dumps(project["name"])}
version = {json.dumps(project["version"])}
description = {json.dumps(project["description"], ensure_ascii=False)}
requires-python = ">=3.12,<3.13"
dependencies = {_array(dependencies)}

[tool.uv]
package = false
environments = {_array(PLATFORMS)}
"""


def _array(items: tuple[str, ...] | list[str]) -> str:
    return "".join(["[\n", *(f"    {json.dumps(item)},\n" for item in items), "]"])
