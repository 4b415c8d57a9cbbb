"""An error, as every route answers with it."""

from pydantic import BaseModel


class ErrorDetail(BaseModel):
    """What is wrong. `param` is the path of the field that is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(BaseModel):
    """An error in OpenAI's shape."""

    error: ErrorDetail
