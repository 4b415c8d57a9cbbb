import io
import os
import zipfile
from pathlib import Path

from bridge.commands.package.archive import archive


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
        assert unpacked.namelist() == ["b", "x/a"]
        assert unpacked.read("x/a") == b"A" * 100


def test_other_contents_make_other_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("A")
    before = archive({"a": file})
    file.write_text("B")
    assert archive({"a": file}) != before
