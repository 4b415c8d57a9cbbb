"""Which credentials a model call carries: what Dify keeps in its provider settings, read from a file.

    {"author/plugin/provider": {"upstream_base_url": "...", "models": {"NAME": {"upstream_base_url": "..."}}}}

A model named under `models` gets those credentials alone, as Dify's customizable models do; any other gets the
provider's. The file is read anew for each call, since what is saved in Dify's form holds at once.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from demo.box.errors import ProviderTokenNotInitError

_MODELS = "models"


class Credentials:
    """Provider and model credentials. Their values never show in a repr."""

    def __init__(self, providers: Mapping[str, Mapping[str, Any]] | None = None, path: Path | None = None) -> None:
        self._providers = {name: dict(values) for name, values in (providers or {}).items()}
        self._path = path

    @classmethod
    def from_file(cls, path: Path | None) -> Self:
        """Read the file; no file means no provider is set up. Raises ValueError when it has another shape."""
        return cls() if path is None else cls(_read(path), path)

    def of(self, provider: str, model: str) -> dict[str, Any]:
        """The credentials of a provider's model. Raises as Dify does when there are none."""
        values = (_read(self._path) if self._path else self._providers).get(provider)
        if values is None:
            raise ProviderTokenNotInitError("Model is not configured")
        own = values.get(_MODELS, {}).get(model)
        return dict(own) if own is not None else {key: value for key, value in values.items() if key != _MODELS}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not all(isinstance(values, dict) for values in content.values()):
        raise ValueError(f"{path} must be a JSON object that maps each provider to an object of credentials")
    return content
