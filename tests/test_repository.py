"""What the repository promises about itself."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from click import Context

from bridge.cli import main
from tools.wire import AGENT

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def tracked(*patterns: str) -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parts
def test_no_file_names_a_place_that_only_this_machine_has() -> None:
    places = [str(place).encode() for place in (ROOT, Path.home()) if place != Path("/")]
    named = [path.relative_to(ROOT).as_posix() for path in tracked() if any(p in path.read_bytes() for p in places)]
    assert named == []


@pytest.mark.parametrize("lock", ["openclaw", "agents"])
def test_a_lock_leaves_open_which_registry_serves_it(lock: str) -> None:
    packages = json.loads((ROOT / f"scripts/{lock}/package-lock.json").read_text())["packages"]
    assert [name for name, package in packages.items() if "resolved" in package] == []


def test_the_plugin_says_which_version_it_is() -> None:
    manifest = yaml.safe_load((ROOT / "manifest.yaml").read_text())
    assert f"clawback-plugin/{PROJECT['version']}" == AGENT == f"clawback-plugin/{manifest['version']}"


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## .*?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == PROJECT["version"]


@pytest.mark.parametrize("page", tracked("*.md"), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_names_only_commands_that_exist(page: Path) -> None:
    code = "\n".join(re.findall(r"^```.*?^```|`[^`\n]+`", page.read_text(), re.MULTILINE | re.DOTALL))
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:^|[`\n ])make ([a-z][a-z-]*)", code)) <= set(targets)
    assert {name for name in re.findall(r"(?:^|[`\n ])(scripts/[\w/-]+)", code) if not (ROOT / name).exists()} == set()
    assert set(re.findall(r"(?:^|[`\n$] ?)clawback ([a-z][a-z-]*)", code)) <= set(main.list_commands(Context(main)))


@pytest.mark.parts
def test_a_command_starts_without_what_serving_needs() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "bridge.cli", "--version"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    names = {line.rpartition("|")[2].strip() for line in loaded.splitlines()}
    assert "click" in names
    assert not names & {"flask", "sqlalchemy", "pydantic", "httpx", "rich"}


@pytest.mark.parametrize("room", ["bridge", "demo", "executor", "provider", "tools"])
def test_each_package_s_table_of_contents_names_all_that_is_in_it(room: str) -> None:
    left_out = {}
    for package in (path for path in (ROOT / room).rglob("__init__.py") if len(list(path.parent.glob("*.py"))) > 2):
        table = set(re.findall(r"\w+", ast.get_docstring(ast.parse(package.read_text())) or ""))
        inside = {
            path.stem for path in package.parent.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
        }
        if missing := {name for name in inside - table if not name.startswith("__")}:
            left_out[package.parent.relative_to(ROOT).as_posix()] = missing
    assert left_out == {}
