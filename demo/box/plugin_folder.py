"""What a plugin's folder says about itself: its identity and its providers' names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml


@dataclass(frozen=True, slots=True)
class PluginFolder:
    """A plugin's folder. `labels` maps the provider's name inside the plugin to the name shown to people."""

    path: Path
    author: str
    name: str
    version: str
    labels: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read manifest and provider files. Raises ValueError when the folder holds no model plugin."""
        manifest_path = path / "manifest.yaml"
        if not manifest_path.is_file():
            raise ValueError(f"{path} is no plugin folder: it has no manifest.yaml")
        manifest = _mapping(manifest_path)
        providers = (manifest.get("plugins") or {}).get("models") or []
        if not providers:
            raise ValueError(f"{manifest_path} declares no model provider under plugins.models")
        declarations = [_mapping(path / provider) for provider in providers]
        return cls(
            path=path,
            author=str(manifest.get("author", "")),
            name=str(manifest.get("name", "")),
            version=str(manifest.get("version", "")),
            labels={str(each["provider"]): _label(each) for each in declarations},
        )

    @property
    def plugin_id(self) -> str:
        """`author/name`."""
        return f"{self.author}/{self.name}"

    def provider_name(self, provider: str) -> str:
        """The provider's name inside the plugin, for `author/plugin/provider` of an app export.

        Raises ValueError, in Dify's words, when the provider is not this plugin's.
        """
        plugin_id, _, name = provider.rpartition("/")
        if plugin_id != self.plugin_id or name not in self.labels:
            raise ValueError(f"Provider {provider} does not exist.")
        return name


def _mapping(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a YAML mapping")
    return content


def _label(declaration: dict[str, Any]) -> str:
    label = declaration.get("label") or {}
    return str(label.get("en_US") or declaration["provider"])
