"""Dify's HTTP errors: `{"code", "message", "status"}`.

Sources: libs/external_api.py, libs/exception.py, controllers/service_api/app/error.py.
"""

import logging
import re
from difflib import get_close_matches
from http import HTTPStatus

from flask import Blueprint, current_app, request
from graphon.model_runtime.errors.invoke import InvokeError, InvokeRateLimitError
from werkzeug.exceptions import HTTPException, InternalServerError, NotFound

from demo.box.admission import TooManyRequests
from demo.box.errors import ProviderTokenNotInitError

logger = logging.getLogger(__name__)

type Answer = tuple[dict[str, object], int, dict[str, str]]


class ApiError(Exception):
    """An error of the service API with a code of its own."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


NOT_CHAT_APP = ("not_chat_app", "Please check if your app mode matches the right API route.", 400)
NOT_COMPLETION_APP = ("not_completion_app", "Please check if your app mode matches the right API route.", 400)
NOT_WORKFLOW_APP = ("not_workflow_app", "Please check if your app mode matches the right API route.", 400)
APP_UNAVAILABLE = ("app_unavailable", "App unavailable, please check your app configurations.", 400)
END_USER_NOT_FOUND = ("end_user_not_found", "End user not found.", 404)

_EMPTY_BODY = "Failed to decode JSON object: Expecting value: line 1 column 1 (char 0)"


def register(blueprint: Blueprint) -> None:
    """Make a blueprint's errors look like Dify's."""
    blueprint.register_error_handler(ApiError, _api_error)
    blueprint.register_error_handler(TooManyRequests, _too_many_requests)
    blueprint.register_error_handler(HTTPException, _http_error)
    blueprint.register_error_handler(ProviderTokenNotInitError, _provider_not_initialized)
    blueprint.register_error_handler(InvokeRateLimitError, _rate_limit_error)
    blueprint.register_error_handler(InvokeError, _invoke_error)
    blueprint.register_error_handler(ValueError, _value_error)
    blueprint.register_error_handler(Exception, _unknown_error)


def _answer(code: str, message: str, status: int, headers: dict[str, str] | None = None) -> Answer:
    return {"code": code, "message": message, "status": status}, status, headers or {}


def _api_error(error: ApiError) -> Answer:
    return _answer(error.code, error.message, error.status)


def _too_many_requests(error: TooManyRequests) -> Answer:
    return _answer("too_many_requests", str(error), 429)


def _http_error(error: HTTPException) -> Answer:
    status = error.code or 500
    code = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
    message = str(error.description or HTTPStatus(status).phrase)
    if message == _EMPTY_BODY:
        message = "Invalid JSON payload received or JSON payload is empty."
    if isinstance(error, NotFound) and request.url_rule:
        message += _similar_addresses(message)
    headers = {"WWW-Authenticate": 'Bearer realm="api"'} if status == 401 else {}
    return _answer(code, message, status, headers)


def _similar_addresses(message: str) -> str:
    """What Flask-RESTX appends to a thing that was not found, as if the address had been wrong."""
    rules = {re.sub(r"(<.*>)", "", rule.rule): rule.rule for rule in current_app.url_map.iter_rules()}
    similar = get_close_matches(request.path, rules)
    if not similar:
        return ""
    meant = " or ".join(rules[match] for match in similar)
    stop = " " if message.endswith(".") else ". "
    return f"{stop}You have requested this URI [{request.path}] but did you mean {meant} ?"


def _provider_not_initialized(error: ProviderTokenNotInitError) -> Answer:
    return _answer("provider_not_initialize", str(error), 400)


def _rate_limit_error(error: InvokeRateLimitError) -> Answer:
    return _answer("rate_limit_error", str(error), 429)


def _invoke_error(error: InvokeError) -> Answer:
    return _answer("completion_request_error", str(error), 400)


def _value_error(error: ValueError) -> Answer:
    return _answer("invalid_param", str(error), 400)


def _unknown_error(error: Exception) -> Answer:
    logger.error("internal server error", exc_info=error)
    return _http_error(InternalServerError())
