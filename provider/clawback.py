"""The provider as Dify knows it."""

from typing import Any

from dify_plugin import ModelProvider  # type: ignore[import-untyped]
from dify_plugin.errors.model import CredentialsValidateFailedError  # type: ignore[import-untyped]

from provider.credentials import LIGHT, MAIN, Credentials
from provider.errors import Refused
from provider.models.validation import problems_of


class ClawbackProvider(ModelProvider):  # type: ignore[misc]
    """One form for the models `main` and `light`."""

    def validate_provider_credentials(self, credentials: dict[str, Any]) -> None:
        """Ask the upstream for both models and the bridge whether it knows us."""
        try:
            read = Credentials.read(credentials)
        except Refused as refused:
            raise CredentialsValidateFailedError(str(refused)) from None
        problems = problems_of(read, [MAIN, LIGHT] if read.upstream_model_light else [MAIN])
        if problems:
            raise CredentialsValidateFailedError(" | ".join(problems))
