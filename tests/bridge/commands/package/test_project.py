import tomllib
from pathlib import Path

from bridge.commands.package.contents import plugin_project

REPOSITORY = """
[project]
name = "clawback"
version = "1.2.3"
description = 'Says "hello".'
requires-python = ">=3.12"
dependencies = ["flask"]

[dependency-groups]
plugin = ["dify_plugin>=0.10.2,<0.11", "httpx>=0.28"]

[build-system]
requires = ["hatchling"]

[tool.uv]
override-dependencies = ["numpy; python_version < '0'"]
"""


def test_the_plugin_s_project_has_what_the_daemon_installs_and_nothing_of_the_bridge(tmp_path: Path) -> None:
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(REPOSITORY)

    derived = tomllib.loads(plugin_project(pyproject))

    assert derived["project"] == {
        "name": "clawback",
        "version": "1.2.3",
        "description": 'Says "hello".',
        "requires-python": ">=3.12,<3.13",
        "dependencies": ["dify_plugin>=0.10.2,<0.11", "httpx>=0.28"],
    }
    assert "build-system" not in derived
    assert derived["tool"]["uv"]["package"] is False
    assert all("linux" in platform or "darwin" in platform for platform in derived["tool"]["uv"]["environments"])
