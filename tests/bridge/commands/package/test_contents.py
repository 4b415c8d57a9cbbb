from pathlib import Path

import pytest

from bridge.commands.package.contents import PackageError, package_contents

BELONGS = (
    "manifest.yaml",
    "main.py",
    "LICENSE",
    "PRIVACY.md",
    "README.md",
    "_assets/icon.svg",
    "provider/clawback.yaml",
    "provider/models/llm/llm.py",
    "readme/README_zh_Hans.md",
    "tools/__init__.py",
    "tools/calls.py",
    "tools/late.py",
)
STAYS = (
    ".env",
    "bridge/cli.py",
    "provider/.env",
    "provider/__pycache__/clawback.cpython-312.pyc",
    "pyproject.toml",
    "uv.lock",
    "tests/test_x.py",
    "tools/notes.txt",
    "tools/only_of_the_bridge.py",
)
DERIVED = ("pyproject.toml", "requirements.txt", "uv.lock")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in (*BELONGS, *STAYS, *(f"bridge/commands/package/plugin/{name}" for name in DERIVED)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if path.suffix == ".py" else name)
    (tmp_path / "provider/models/llm/llm.py").write_text("def later():\n    from tools.late import something\n")
    (tmp_path / "tools/late.py").write_text("from tools import calls\n")
    return tmp_path


def test_only_what_belongs_gets_in(checkout: Path) -> None:
    contents = package_contents(checkout)
    assert set(contents) == {*BELONGS, *DERIVED}


def test_the_plugin_is_installed_from_a_project_of_its_own(checkout: Path) -> None:
    contents = package_contents(checkout)
    assert [contents[name].read_text() for name in DERIVED] == [
        f"bridge/commands/package/plugin/{name}" for name in DERIVED
    ]


def test_a_package_without_translations_is_complete(checkout: Path) -> None:
    (checkout / "readme/README_zh_Hans.md").unlink()
    assert "manifest.yaml" in package_contents(checkout)


@pytest.mark.parametrize(
    "missing", ["manifest.yaml", "PRIVACY.md", "_assets/icon.svg", "bridge/commands/package/plugin/uv.lock"]
)
def test_what_is_missing_is_named(checkout: Path, missing: str) -> None:
    (checkout / missing).unlink()
    with pytest.raises(PackageError, match=Path(missing).suffix):
        package_contents(checkout)
