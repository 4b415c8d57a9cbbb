"""A zip file whose bytes depend on nothing but the names and bytes of what is in it."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

# The earliest time that a zip entry can carry.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_READABLE_FILE = 0o100644


def archive(contents: Mapping[str, Path]) -> bytes:
    """The zip file of `contents`, which names the entries and says where their bytes are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, path in sorted(contents.items()):
            file.writestr(_entry(name), path.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = _UNIX
    entry.external_attr = _READABLE_FILE << 16
    return entry
