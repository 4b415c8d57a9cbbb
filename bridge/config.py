"""The bridge's configuration: one TOML file, checked as it is read.

host = "127.0.0.1"
port = 8765
data_dir = "~/.local/share/clawback"

[tokens]                        # only hashes are kept: `clawback token` makes a token and prints both
client = "sha256:..."
plugin = "sha256:..."
executor = "sha256:..."
operator = "sha256:..."         # who may approve and deny calls

[[apps]]
model = "assistant"             # the model id that clients see
base_url = "http://127.0.0.1/v1"
api_key = "app-..."             # or api_key_env = "DIFY_APP_KEY"
"""

import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from bridge.tokens import PREFIX


class ConfigError(Exception):
    """The configuration cannot be used; the text names the key and what it should be."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Tokens(_Section):
    """Hashes of the bearer tokens, one an audience. An audience without a hash is refused."""

    client: str = ""
    plugin: str = ""
    executor: str = ""
    operator: str = ""

    @field_validator("client", "plugin", "executor", "operator")
    @classmethod
    def _is_hash(cls, value: str) -> str:
        if value and not (value.startswith(PREFIX) and len(value) == len(PREFIX) + 64):
            raise ValueError("is not a hash; `clawback token` prints one (sha256: and 64 hex digits)")
        return value


class App(_Section):
    """One Dify app, shown to clients as the model `model`."""

    model: str = Field(min_length=1, max_length=128)
    base_url: str = Field(pattern=r"^https?://")
    api_key: SecretStr = SecretStr("")
    api_key_env: str | None = None
    description: str = ""
    context_window: int = Field(default=128_000, ge=1)
    max_output_tokens: int = Field(default=8_192, ge=1)
    inputs: dict[str, Any] = Field(default_factory=dict)
    find_run: Literal["user", "marker"] = "user"
    """How the plugin finds the run: `marker` also writes a marker into the query, or into `marker_input`."""
    marker_input: str | None = None
    guard_text: bool = True

    @model_validator(mode="after")
    def _has_key(self) -> Self:
        if self.api_key_env:
            value = os.environ.get(self.api_key_env, "")
            if not value:
                raise ValueError(f"api_key_env names {self.api_key_env}, which is not set")
            self.api_key = SecretStr(value)
        if not self.api_key.get_secret_value():
            raise ValueError("api_key or api_key_env is missing: it stands in Dify under the app's API Access")
        return self


class Limits(_Section):
    """Every wait and every size has an end. Seconds and bytes."""

    keepalive_seconds: float = Field(default=10, gt=0, le=60)
    first_event_seconds: float = Field(default=2, ge=0, le=30)
    grace_seconds: float = Field(default=30, ge=0)
    ticket_seconds: float = Field(default=86_400, gt=0)
    run_seconds: float = Field(default=7 * 86_400, gt=0)
    boundary_seconds: float = Field(default=0.3, ge=0, le=5)
    approval_seconds: float = Field(default=3_600, gt=0)
    lease_seconds: float = Field(default=60, ge=1)
    executor_seconds: float = Field(default=60, ge=1)
    calls_per_run: int = Field(default=500, ge=1)
    identical_calls: int = Field(default=10, ge=1)
    """How often a run may make the same call with the same result, before it is told to stop."""
    handouts: int = Field(default=5, ge=1)
    """How often a call is handed out again after its executor was lost with it."""
    request_bytes: int = Field(default=20 * 1024 * 1024, ge=1024)
    result_bytes: int = Field(default=1024 * 1024, ge=1024)
    image_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    result_characters: int = Field(default=100_000, ge=1000)
    """How much of an executor's result a model is given; the middle of a longer one is cut out."""
    keep_days: float = Field(default=30, gt=0)


class Config(_Section):
    """The whole configuration."""

    host: str = "127.0.0.1"
    port: int = Field(default=8765, ge=0, le=65535)
    data_dir: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir("clawback")))
    database_url: str | None = None
    tokens: Tokens = Tokens()
    apps: list[App] = Field(default_factory=list)
    limits: Limits = Limits()
    policy: Path | None = None
    """Which calls run at once, which wait for a person, which do not run: see bridge.policy."""
    log_content: bool = False

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        models = [app.model for app in self.apps]
        for model in models:
            if models.count(model) > 1:
                raise ValueError(f"two apps are named {model!r}: every app needs a model id of its own")
        if not is_loopback(self.host) and not (self.tokens.client and self.tokens.plugin):
            raise ValueError(
                f"host {self.host} is reachable from other machines, and a token is missing: set tokens.client and "
                "tokens.plugin (`clawback token` makes them), or bind to 127.0.0.1"
            )
        return self

    @property
    def store_url(self) -> str:
        """The SQLAlchemy URL of the store: SQLite in the data folder unless told otherwise."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'bridge.sqlite3').expanduser()}"

    def app(self, model: str) -> App | None:
        """Return the app that is shown as `model`."""
        return next((app for app in self.apps if app.model == model), None)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a server bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def default_path() -> Path:
    """Return where the configuration lives unless told otherwise."""
    return Path(platformdirs.user_config_dir("clawback")) / "clawback.toml"


def load(path: Path) -> Config:
    """Read and check the file. Raises ConfigError whose text names the key that is wrong."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration at {path}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    return parse(values, str(path))


def parse(values: dict[str, Any], source: str = "configuration") -> Config:
    """Check `values`. Raises ConfigError; secrets are never part of its text."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in problem['loc']) or 'the file'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        ]
        raise ConfigError(f"{source}: " + "; ".join(problems)) from None
