"""Bodies that a client packed: read within the limit that holds for what is in them."""

import zlib
from typing import Protocol

from zstandard import ZstdDecompressor, ZstdError

from bridge.errors import InvalidRequest, TooLarge, UnsupportedEncoding

TAKEN = ("gzip", "deflate", "zstd")
_PIECE = 1024
"""How much is unpacked in one go: a thousand bytes of zstd may hold some thirty millions."""


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def unpacked(raw: bytes, encodings: str, limit: int) -> bytes:
    """Return a body without its Content-Encoding. Raises UnsupportedEncoding, InvalidRequest and TooLarge."""
    for encoding in reversed([name.strip().lower() for name in encodings.split(",") if name.strip()]):
        if encoding == "identity":
            continue
        if encoding.removeprefix("x-") not in TAKEN:
            raise UnsupportedEncoding(
                f"a body with Content-Encoding {encoding[:40]} is not read; send it without, or as {', '.join(TAKEN)}"
            )
        try:
            raw = _unpacked(raw, encoding.removeprefix("x-"), limit)
        except (zlib.error, ZstdError, EOFError):
            raise InvalidRequest(
                f"the body is not what its Content-Encoding {encoding} says, or it was cut off", code="invalid_encoding"
            ) from None
    return raw


def _unpacked(raw: bytes, encoding: str, limit: int) -> bytes:
    read = bytearray()
    while raw:
        unpacker = _unpacker(encoding, raw)
        for start in range(0, len(raw), _PIECE):
            read += unpacker.decompress(raw[start : start + _PIECE])
            if len(read) > limit:
                raise TooLarge(f"the unpacked body is larger than {limit} bytes (limits.request_bytes)")
            if unpacker.eof:
                # Several may stand behind each other, as in files that were put together.
                raw = unpacker.unused_data + raw[start + _PIECE :]
                break
        else:
            raise EOFError
    return bytes(read)


def _unpacker(encoding: str, raw: bytes) -> _Unpacker:
    if encoding == "zstd":
        return ZstdDecompressor(max_window_size=2**27).decompressobj()
    # Some send deflate without zlib's head, whatever the standard says.
    bare = encoding == "deflate" and raw[0] & 0x0F != zlib.DEFLATED
    return zlib.decompressobj(31 if encoding == "gzip" else -15 if bare else 15)
