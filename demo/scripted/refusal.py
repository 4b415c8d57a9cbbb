"""What is answered instead of a completion: an error in OpenAI's shape, or in that of another vendor."""

from typing import Any, Literal

Form = Literal["openai", "in a list", "flat", "base_resp"]
"""OpenAI's; Gemini's, in a list; Mistral's and vLLM's, without `error` around it; MiniMax', with status 200."""

# OpenAI's `type` and `code` for each status: https://platform.openai.com/docs/guides/error-codes
_KINDS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    405: ("invalid_request_error", "method_not_supported"),
    429: ("requests", "rate_limit_exceeded"),
}

# https://platform.minimax.io/docs/api-reference/errorcode
_BASE = {401: 1004, 402: 1008, 429: 1002, 500: 1000}


class Refusal(Exception):
    """A request that is not answered; `status` is the HTTP status, `param` the field to change."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code

    def body(self) -> dict[str, Any]:
        """The JSON body: `{"error": {"message", "type", "param", "code"}}`."""
        kind, code = _KINDS.get(self.status, ("server_error", None))
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code or code}}

    def body_in(self, form: Form) -> Any:
        """The JSON body in a vendor's form."""
        error = self.body()["error"]
        match form:
            case "in a list":
                return [{"error": {"code": self.status, "message": str(self), "status": "INVALID_ARGUMENT"}}]
            case "flat":
                return {"object": "error", **error}
            case "base_resp":
                said = {"status_code": _BASE.get(self.status, 2013), "status_msg": str(self)}
                return {"choices": None, "base_resp": said}
            case _:
                return {"error": error}
