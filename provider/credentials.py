"""What the provider's and the models' forms hold."""

from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, field_validator

from provider.errors import Refused

MAIN = "main"
LIGHT = "light"
DEFAULT_CONTEXT_SIZE = 128_000

_INSIDE = {"localhost", "127.0.0.1", "0.0.0.0", "::1", "[::1]"}  # noqa: S104 - recognised, not bound


class Credentials(BaseModel):
    """One filled-in form: the provider's for the models `main` and `light`, a model's own for any other."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    upstream_base_url: str = ""
    upstream_api_key: SecretStr = SecretStr("")
    upstream_model: str = ""
    upstream_model_light: str = ""
    context_size: int = DEFAULT_CONTEXT_SIZE
    bridge_url: str = ""
    bridge_token: SecretStr = SecretStr("")

    @field_validator("*", mode="before")
    @classmethod
    def _absent_is_empty(cls, value: Any, info: Any) -> Any:
        if value is None or (isinstance(value, str) and not value.strip()):
            return cls.model_fields[info.field_name].default
        return value.strip() if isinstance(value, str) else value

    @field_validator("upstream_base_url", "bridge_url")
    @classmethod
    def _root(cls, value: str) -> str:
        value = value.rstrip("/").removesuffix("/chat/completions").rstrip("/")
        if value and (urlsplit(value).scheme not in {"http", "https"} or not urlsplit(value).hostname):
            raise ValueError("is not a URL; it must begin with http:// or https://")
        return value

    @field_validator("context_size")
    @classmethod
    def _positive(cls, value: int) -> int:
        if value <= 0:
            raise ValueError("must be a number of tokens above 0")
        return value

    @classmethod
    def read(cls, form: Mapping[str, Any]) -> Self:
        """Read a form. Raises Refused, which names the field to change."""
        try:
            return cls.model_validate(dict(form))
        except ValidationError as error:
            problems = [f"{problem['loc'][0]}: {_said(problem['msg'])}" for problem in error.errors()]
            raise Refused(f"The credentials cannot be used. {'; '.join(problems)}") from None

    def upstream_name(self, model: str) -> str:
        """Return the name under which the upstream knows Dify's `model`. Raises Refused."""
        name = self.upstream_model
        if model == LIGHT:
            name = self.upstream_model_light or name
        elif model != MAIN:
            name = name or model
        if not name:
            raise Refused("upstream_model is empty: set it to the upstream's name of the model")
        return name

    @property
    def has_bridge(self) -> bool:
        """Whether callbacks can be used."""
        return bool(self.bridge_url and self.bridge_token.get_secret_value())

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return tuple(
            secret for field in (self.upstream_api_key, self.bridge_token) if (secret := field.get_secret_value())
        )


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")


def advice_for_host(url: str) -> str:
    """Return what to say about a `url` that cannot be reached because it means the container itself, or nothing."""
    if (urlsplit(url).hostname or "") not in _INSIDE:
        return ""
    return (
        " Inside Dify's container this address is the container itself: use http://host.docker.internal:PORT "
        "(on Linux with `extra_hosts: host.docker.internal:host-gateway`) or the machine's own address, and let the "
        "server listen there"
    )
