"""What is in deploy/ fits the code that it starts, as far as that can be seen without Docker."""

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from bridge.cli import main
from bridge.commands.package.contents import package_contents
from bridge.config import Config, Limits

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "deploy" / "docker"
UNIT = ROOT / "deploy" / "systemd" / "clawback.service"


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions with their arguments."""
    text = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def test_the_image_is_built_from_what_it_needs_and_nothing_else() -> None:
    ignore = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    hook = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    needed = {"pyproject.toml", "uv.lock", project["project"]["readme"], *project["project"]["license-files"]}
    made_by = {Path(hook["path"]).parent.as_posix(), "examples"}
    plugin = {path.relative_to(ROOT).parts[0] for path in package_contents(ROOT).values()}
    assert let_in == {*hook["rooms"], *needed, *made_by, *plugin}
    assert all((ROOT / name).exists() for name in let_in)
    secrets = [".env", ".git", ".venv", ".cache", "clawback.toml", "credentials.json"]
    assert not [name for name in secrets if any(fnmatch.fnmatch(name, pattern) for pattern in let_in)]


def test_the_dockerfile_starts_what_there_is() -> None:
    given = dict(instructions())
    extras = re.search(r"/src\[([\w,]+)\]", given["RUN"])
    assert extras
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.group(1).split(",")) <= set(known)
    command, *arguments = yaml.safe_load(given["CMD"])
    options = {name for each in main.get_command(click.Context(main), command).params for name in each.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= options
    assert given["USER"] != "root"
    assert f"localhost:{Config().port}".replace("localhost", "127.0.0.1") in given["HEALTHCHECK"]
    assert given["EXPOSE"] == str(Config().port)


def test_compose_publishes_to_this_machine_alone_and_waits_for_a_stop() -> None:
    service = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["clawback"]
    assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DOCKER / "Dockerfile"
    assert service["ports"] == [f"127.0.0.1:{Config().port}:{Config().port}"]
    assert int(service["stop_grace_period"].removesuffix("s")) > Limits().stop_seconds
    volumes = dict(volume.split(":") for volume in service["volumes"])
    assert set(volumes.values()) == set(yaml.safe_load(dict(instructions())["VOLUME"]))
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]


def test_the_unit_starts_reloads_and_stops_what_there_is() -> None:
    lines = [line.partition("=") for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith("#")]
    given = {name: value for name, _, value in lines}
    _, command, *arguments = shlex.split(given["ExecStart"])
    options = {name for each in main.get_command(click.Context(main), command).params for name in each.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= options
    assert int(given["TimeoutStopSec"]) > Limits().stop_seconds
    assert given["ExecReload"].endswith("-HUP $MAINPID")


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("there is no systemd here")
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text()))
    done = subprocess.run(
        [verify, "--user", "verify", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert (done.returncode, unit.name in done.stderr) == (0, False), done.stderr
