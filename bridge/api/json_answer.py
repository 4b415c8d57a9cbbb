"""Writes a model as a JSON response."""

from flask import Response
from pydantic import BaseModel


def json_answer(model: BaseModel, status: int = 200) -> Response:
    """Return the model as a response."""
    return Response(model.model_dump_json(), status=status, content_type="application/json")
