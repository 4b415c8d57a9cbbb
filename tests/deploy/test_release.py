"""`make release` makes every file that docs/how-to/publish.md names, and the same bytes each time."""

import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
SECONDS = 300
FILES = {
    f"clawback-{VERSION}-py3-none-any.whl",
    f"clawback-{VERSION}.tar.gz",
    f"clawback-{VERSION}.difypkg",
    f"clawback-tools-{VERSION}.difypkg",
    f"clawback-{VERSION}.difybndl",
    f"clawback-{VERSION}-examples.tar.gz",
    f"clawback-{VERSION}-deploy.tar.gz",
    f"clawback-{VERSION}-chart.tgz",
    f"clawback-{VERSION}.cdx.json",
    f"clawback-{VERSION}-plugin.cdx.json",
    f"clawback-tools-{VERSION}.cdx.json",
    "SHA256SUMS",
}

pytestmark = pytest.mark.timeout(2 * SECONDS)


def release(**environ: str) -> dict[str, bytes]:
    """Make a release of this checkout and return its files."""
    command = ["make", "release"]
    subprocess.run(command, cwd=ROOT, env=os.environ | environ, check=True, capture_output=True, timeout=SECONDS)
    return {path.name: path.read_bytes() for path in (ROOT / f"dist/release-{VERSION}").iterdir()}


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    return release()


def members(data: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name for member in archive if member.isfile()}


def test_every_file_is_there_and_its_checksum_is_right(made: dict[str, bytes]) -> None:
    assert set(made) == FILES
    lines = made["SHA256SUMS"].decode().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in made.items() if name != "SHA256SUMS"}


def test_the_bundle_holds_both_plugins_as_they_are_published(made: dict[str, bytes]) -> None:
    with zipfile.ZipFile(io.BytesIO(made[f"clawback-{VERSION}.difybndl"])) as bundle:
        for name in (f"clawback-{VERSION}.difypkg", f"clawback-tools-{VERSION}.difypkg"):
            assert bundle.read(f"_assets/{name}") == made[name]


def test_the_archives_hold_apps_recipes_and_chart(made: dict[str, bytes]) -> None:
    examples = members(made[f"clawback-{VERSION}-examples.tar.gz"])
    assert {Path(name).name for name in examples} == {path.name for path in (ROOT / "examples").iterdir()}
    recipes = members(made[f"clawback-{VERSION}-deploy.tar.gz"])
    assert {"Dockerfile", "compose.yaml", "clawback.service"} <= {Path(name).name for name in recipes}
    assert "clawback/Chart.yaml" in members(made[f"clawback-{VERSION}-chart.tgz"])


@pytest.mark.parametrize("name", ["clawback", "clawback-plugin", "clawback-tools"])
def test_a_bill_of_materials_names_what_the_package_needs(name: str, made: dict[str, bytes]) -> None:
    file = f"clawback-{VERSION}-plugin.cdx.json" if name == "clawback-plugin" else f"{name}-{VERSION}.cdx.json"
    bill = json.loads(made[file])
    assert bill["bomFormat"] == "CycloneDX"
    named = {component["name"]: component["version"] for component in bill["components"]}
    assert {"pydantic", "flask" if name == "clawback" else "dify-plugin"} <= set(named)


def test_the_guide_names_every_file(made: dict[str, bytes]) -> None:
    guide = (ROOT / "docs/how-to/publish.md").read_text()
    named = {each.replace("VERSION", VERSION) for each in re.findall(r"`((?:clawback-|SHA256)[^`]*)`", guide)}
    assert set(made) - named == set()


def test_the_same_commit_makes_the_same_bytes(made: dict[str, bytes]) -> None:
    assert release(TZ="Asia/Kathmandu", LC_ALL="C.UTF-8") == made


def test_a_tag_that_does_not_fit_is_refused() -> None:
    done = subprocess.run(
        ["scripts/release", "v9.9.9"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert f"the tag v9.9.9 does not fit the version {VERSION}" in done.stderr
