"""Where a store is. The server's first process looks no further, and keeps what it has imported as long as it runs."""

from pathlib import Path
from urllib.parse import unquote


class StoreError(Exception):
    """The store cannot be used until somebody does something about it; the text says what."""


def path_of(url: str) -> Path | None:
    """Return the file of a store that is one; None for a database elsewhere, or in memory."""
    scheme, _, rest = url.partition("://")
    database = unquote(rest.partition("/")[2].partition("?")[0])
    if scheme.partition("+")[0] != "sqlite" or database in {"", ":memory:"}:
        return None
    return Path(database)
