from typing import Any

from dify_plugin import ModelProvider


class ObedientProvider(ModelProvider):
    def validate_provider_credentials(self, credentials: dict[str, Any]) -> None:
        """Every credential will do."""
