"""A file or a folder that a command cannot use is named in one sentence."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from bridge.cli import main


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("package -o {file}/x", "{file}/x cannot be used: Not a directory"),
        ("package -o {file}/x.difypkg", "{file} cannot be used: it is no folder"),
        ("store backup {file}/x --config {sound}", "Not a directory: '{file}/x.new'"),
        ("token list --config {folder}", "{folder} cannot be used: Is a directory"),
        ("token list --config {elsewhere}", "{file} cannot be used: it is no folder"),
        ("serve --config {binary}", "{binary} is not valid TOML"),
    ],
)
def test_what_cannot_be_used_is_named(command: str, why: str, tmp_path: Path) -> None:
    names = ("file", "sound", "folder", "elsewhere", "binary")
    places = {name: str(tmp_path / name) for name in names}
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "sound").write_text(f'data_dir = "{tmp_path}"\n')
    (tmp_path / "elsewhere").write_text(f'data_dir = "{tmp_path / "file"}"\n')
    (tmp_path / "binary").write_bytes(b"\xd0\xd0")
    runner = CliRunner()
    assert runner.invoke(main, ["token", "list", "--config", places["sound"]]).exit_code == 0
    done = runner.invoke(main, command.format(**places).split())
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert why.format(**places) in done.stderr
