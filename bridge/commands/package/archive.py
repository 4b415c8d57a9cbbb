"""A zip file whose bytes depend on nothing but the names and bytes of what is in it.

Zopfli deflates better than zlib, and alike on every machine; `zipfile` can write with zlib alone, so the container is
written here. Source: PKWARE's APPNOTE.TXT, sections 4.3.7, 4.3.12 and 4.3.16.
"""

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from bridge.commands.package.contents import PackageError, packed

_STORED = 0
_DEFLATED = 8
_VERSION = 20
_UNIX = 3 << 8
_READABLE_FILE = 0o100644 << 16
# The earliest time that an entry can carry: 1980-01-01.
_EPOCH = 1 << 5 | 1


def archive(contents: Mapping[str, Path]) -> bytes:
    """The zip file of `contents`, which names the entries and says where their files are. Takes some seconds."""
    return _zipped({name: packed(path) for name, path in contents.items()}, _DEFLATED)


def stored(contents: Mapping[str, bytes]) -> bytes:
    """The zip file of `contents`, which holds the bytes of each entry: most of them are deflated already."""
    return _zipped(contents, _STORED)


def _zipped(contents: Mapping[str, bytes], method: int) -> bytes:
    files, directory = bytearray(), bytearray()
    for name, data in sorted(contents.items()):
        entry, offset = name.encode("ascii"), len(files)
        kept = _deflated(data) if method == _DEFLATED else data
        fields = struct.pack(
            "<HHHHHIIIHH",
            *(_VERSION, 0, method, 0, _EPOCH, zlib.crc32(data), len(kept), len(data), len(entry), 0),
        )
        files += b"PK\3\4" + fields + entry + kept
        directory += struct.pack("<4sH", b"PK\1\2", _UNIX | _VERSION) + fields
        directory += struct.pack("<HHHII", 0, 0, 0, _READABLE_FILE, offset) + entry
    end = (0, 0, len(contents), len(contents), len(directory), len(files), 0)
    return bytes(files + directory) + struct.pack("<4sHHHHIIH", b"PK\5\6", *end)


def _deflated(data: bytes) -> bytes:
    try:
        # An installed Clawback has the package already, and no Zopfli.
        from zopfli.zlib import compress  # type: ignore[import-untyped]
    except ImportError:
        raise PackageError("Zopfli is missing, which compresses the package. Run scripts/bootstrap.") from None
    # Without zlib's header and checksum.
    return bytes(compress(data, numiterations=5)[2:-4])
