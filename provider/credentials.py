"""What the provider's and the models' forms hold, certificates and headers as people write them included."""

import hashlib
import json
import re
import ssl
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from provider.errors import Refused
from provider.upstream.vendors import AUTO, ThinkingDialect, Vendor, vendor_at, vendor_named

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)


def certificates_in(text: str) -> str:
    """Return the certificates in `text` as PEM. Raises ValueError."""
    bodies = ["".join(body.replace("\\n", "").split()) for body in _BLOCK.findall(text)]
    if not bodies:
        raise ValueError(
            "holds no certificate; paste PEM, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"
        )
    pem = "\n".join(f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----" for body in bodies)
    try:
        ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise ValueError("holds a certificate that cannot be read; paste it whole, as PEM") from None
    return pem


_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NEXT = re.compile(r"\n|;\s*(?=[A-Za-z0-9-]+\s*:)")


def read_headers(text: str) -> dict[str, str]:
    """Return the headers in `text`. Raises ValueError, which shows no value: it may be a secret."""
    text = text.strip()
    pairs = (
        _pairs_of_json(text) if text.startswith("{") else [_pair(line) for line in _NEXT.split(text) if line.strip()]
    )
    for name, value in pairs:
        if not _NAME.fullmatch(name) or not value.isprintable():
            raise ValueError(f"the header {name[:40]!r} cannot be sent; write one `Name: value` a line")
    return dict(pairs)


def _pairs_of_json(text: str) -> list[tuple[str, str]]:
    try:
        value: dict[str, Any] = json.loads(text)
    except ValueError:
        raise ValueError("this is no JSON object of names and values") from None
    return [(str(name), str(each)) for name, each in value.items()]


def _pair(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise ValueError("a header has a colon after its name; write one `Name: value` a line")
    return name.strip(), value.strip()


MAIN = "main"
LIGHT = "light"
DEFAULT_CONTEXT_SIZE = 128_000
DEFAULT_MAX_OUTPUT_TOKENS = 1_000_000

OnOff = Literal["on", "off"]
AutoOnOff = Literal["auto", "on", "off"]

_INSIDE = {"localhost", "127.0.0.1", "0.0.0.0", "::1", "[::1]"}  # noqa: S104 - recognised, not bound


class Credentials(BaseModel):
    """One filled-in form: the provider's for the models `main` and `light`, a model's own for any other."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    upstream_vendor: str = AUTO
    upstream_base_url: str = ""
    upstream_api_key: SecretStr = SecretStr("")
    upstream_model: str = ""
    upstream_model_light: str = ""
    bridge_url: str = ""
    bridge_token: SecretStr = SecretStr("")

    # What the model is and can do. `auto` is what a probe, or else the vendor's entry, says.
    completion_mode: Literal["chat", "completion"] = "chat"
    context_size: int = DEFAULT_CONTEXT_SIZE
    max_output_tokens: int = Field(default=DEFAULT_MAX_OUTPUT_TOKENS, ge=1)
    tool_support: Literal["auto", "on", "not_streamed", "in_text", "off"] = "auto"
    tool_choice_support: AutoOnOff = "auto"
    structured_output_support: AutoOnOff = "auto"
    vision_support: AutoOnOff = "auto"
    audio_support: OnOff = "off"
    video_support: OnOff = "off"
    document_support: OnOff = "off"
    reasoning_support: Literal["auto", "none"] | ThinkingDialect = "auto"

    # How it is asked.
    token_field: Literal["auto", "max_tokens", "max_completion_tokens"] = "auto"  # noqa: S105 - no secret
    streaming: Literal["auto", "on", "without_usage", "off"] = "auto"
    send_user: OnOff = "on"
    extra_headers: SecretStr = SecretStr("")
    extra_body: dict[str, Any] = Field(default_factory=dict)
    connect_seconds: float = Field(default=10.0, gt=0, le=600)
    first_token_seconds: float = Field(default=300.0, gt=0, le=86_400)
    idle_seconds: float = Field(default=300.0, gt=0, le=86_400)
    retries: int = Field(default=3, ge=0, le=10)
    proxy_url: SecretStr = SecretStr("")
    ca_certificate: str = ""
    input_price: Decimal = Field(default=Decimal(0), ge=0)
    output_price: Decimal = Field(default=Decimal(0), ge=0)
    price_currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")

    @field_validator("*", mode="before")
    @classmethod
    def _absent_is_empty(cls, value: Any, info: Any) -> Any:
        if value is None or (isinstance(value, str) and not value.strip()):
            return cls.model_fields[info.field_name].get_default(call_default_factory=True)
        return value.strip() if isinstance(value, str) else value

    @field_validator("upstream_vendor")
    @classmethod
    def _known(cls, value: str) -> str:
        if value != AUTO and vendor_named(value) is None:
            raise ValueError("is no vendor of the list")
        return value

    @field_validator("upstream_base_url", "bridge_url")
    @classmethod
    def _root(cls, value: str) -> str:
        url = urlsplit(value)
        if value and (url.scheme not in {"http", "https"} or not url.hostname):
            raise ValueError("is not a URL; it must begin with http:// or https://")
        path = url.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
        return url._replace(path=path, fragment="").geturl()

    @field_validator("upstream_api_key", "bridge_token")
    @classmethod
    def _sendable(cls, value: SecretStr) -> SecretStr:
        if not all(" " <= character <= "~" for character in value.get_secret_value()):
            raise ValueError("holds a character that no key has, such as a line break or a curly quote; copy it again")
        return value

    @field_validator("context_size")
    @classmethod
    def _positive(cls, value: int) -> int:
        if value <= 0:
            raise ValueError("must be a number of tokens above 0")
        return value

    @field_validator("extra_headers")
    @classmethod
    def _readable(cls, value: SecretStr) -> SecretStr:
        read_headers(value.get_secret_value())
        return value

    @field_validator("extra_body", mode="before")
    @classmethod
    def _object(cls, value: Any) -> Any:
        return json_object(value) if isinstance(value, str) else value

    @field_validator("proxy_url")
    @classmethod
    def _proxy(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and (urlsplit(url).scheme not in {"http", "https", "socks5", "socks5h"} or not urlsplit(url).hostname):
            raise ValueError("is not a proxy's URL; it must begin with http://, https:// or socks5://")
        return value

    @field_validator("ca_certificate")
    @classmethod
    def _pem(cls, value: str) -> str:
        return certificates_in(value) if value else ""

    @model_validator(mode="after")
    def _vendor_s_address(self) -> Self:
        named = vendor_named(self.upstream_vendor)
        if not self.upstream_base_url and named:
            self.upstream_base_url = named.base_url
        return self

    @classmethod
    def read(cls, form: Mapping[str, Any]) -> Self:
        """Read a form. Raises Refused, which names the field to change."""
        try:
            return cls.model_validate(dict(form))
        except ValidationError as error:
            problems = [
                f"{problem['loc'][0]}: {_said(problem['msg'])}" for problem in error.errors(include_input=False)
            ]
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

    def names(self, model: str) -> bool:
        """Say whether the form tells how the upstream knows Dify's `model`."""
        return bool(self.upstream_model or (self.upstream_model_light and model == LIGHT) or model not in {MAIN, LIGHT})

    @property
    def has_bridge(self) -> bool:
        """Whether callbacks can be used."""
        return bool(self.bridge_url and self.bridge_token.get_secret_value())

    @property
    def vendor(self) -> Vendor:
        """The entry of the vendor that the form names, or that is found at the address."""
        return vendor_named(self.upstream_vendor) or vendor_at(self.upstream_base_url)

    @property
    def headers(self) -> dict[str, str]:
        """The extra headers."""
        return read_headers(self.extra_headers.get_secret_value())

    def address(self, path: str) -> str:
        """Return the address of what stands at `path` of the upstream's."""
        url = urlsplit(self.upstream_base_url)
        return url._replace(path=f"{url.path}/{path}").geturl()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        proxy_password = unquote(urlsplit(self.proxy_url.get_secret_value()).password or "")
        fields = (self.upstream_api_key, self.bridge_token)
        secrets = [*(field.get_secret_value() for field in fields), proxy_password, *self.headers.values()]
        # `Authorization: Token ...`: what is behind the first word is the secret.
        secrets += [value.partition(" ")[2] for value in self.headers.values()]
        return tuple(secret for secret in secrets if secret)

    def identity(self, model: str) -> str:
        """Return what is the same for the same upstream, asked in the same way for the same model; no secret."""
        form = self.model_dump(mode="json", exclude={"bridge_url", "bridge_token", "upstream_model_light"})
        secrets = [self.upstream_api_key.get_secret_value(), self.extra_headers.get_secret_value()]
        known = json.dumps([form, secrets, self.proxy_url.get_secret_value(), self.upstream_name(model)])
        return hashlib.sha256(known.encode()).hexdigest()


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object in `text`. Raises ValueError."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError('must be a JSON object such as {"top_k": 20}')
    return value


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
