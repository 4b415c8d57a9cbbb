"""The sentence below each field of a model, which the reference and the OpenAPI document say of it.

Read from the source when somebody asks: pydantic would do so for every model whenever the bridge starts.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import ModelSchema


def sentences(model: type[BaseModel]) -> dict[str, str]:
    """Return the sentence of each field that has one, by the fields' names."""
    kinds = [kind for kind in reversed(model.__mro__) if issubclass(kind, BaseModel) and kind is not BaseModel]
    return {name: said for kind in kinds for name, said in _said_in(kind.__module__)[kind.__name__].items()}


@cache
def _said_in(module: str) -> dict[str, dict[str, str]]:
    """Return the sentences of all classes of a module: to look one up takes as long as to read them all."""
    source = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: dict(_own(node)) for node in source.body if isinstance(node, ast.ClassDef)}


def _own(model: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(model.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str() as said)):
                yield name, inspect.cleandoc(said)


class Described(GenerateJsonSchema):
    """JSON Schemas that hold these sentences."""

    def model_schema(self, schema: ModelSchema) -> dict[str, Any]:
        """Return a model's schema; a sentence of the model is no answer where the field has a description."""
        made = super().model_schema(schema)
        model = schema["cls"]
        for name, said in sentences(model).items():
            field = model.model_fields[name]
            key = field.alias or name
            if key in made.get("properties", {}):
                made["properties"][key].setdefault("description", said)
        return made
