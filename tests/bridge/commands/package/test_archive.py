import io
import os
import sys
import zipfile
from pathlib import Path

import pytest

from bridge.commands.package.contents import PackageError, archive


def test_the_same_contents_make_the_same_bytes_whatever_their_order_times_and_modes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        (folder / "a").write_text("A" * 100)
        (folder / "b").write_text("B")
    (two / "a").chmod(0o600)
    os.utime(two / "b", (0, 0))

    first = archive({"x/a": one / "a", "b": one / "b"})
    second = archive({"b": two / "b", "x/a": two / "a"})

    assert first == second
    with zipfile.ZipFile(io.BytesIO(first)) as unpacked:
        assert unpacked.testzip() is None
        assert unpacked.namelist() == ["b", "x/a"]
        assert unpacked.getinfo("b").external_attr >> 16 == 0o100644
        assert unpacked.read("x/a") == b"A" * 100


def test_other_contents_make_other_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("A")
    before = archive({"a": file})
    file.write_text("B")
    assert archive({"a": file}) != before


def test_a_checkout_that_lacks_the_compressor_is_told_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("A")
    monkeypatch.setitem(sys.modules, "zopfli.zlib", None)
    with pytest.raises(PackageError, match="Run scripts/bootstrap"):
        archive({"a": tmp_path / "a"})


def test_a_module_has_its_lines_and_its_own_docstring_and_no_other(tmp_path: Path) -> None:
    module = tmp_path / "a.py"
    source = [
        '"""Kept."""',
        'KEPT = "# kept"  # gone',
        '"""A name."""',
        "class A:",
        '    """Said."""',
        "def f():",
        "    'no'",
        "    return 1",
    ]
    module.write_text("\n".join(source))
    with zipfile.ZipFile(io.BytesIO(archive({"a.py": module}))) as unpacked:
        kept = unpacked.read("a.py").decode().split("\n")
    assert kept == [source[0], 'KEPT = "# kept"', "", "class A:", "    ...", "def f():", "", "    return 1"]
