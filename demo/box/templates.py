"""What model nodes need beside their model: a template renderer, and the refusal of files.

Differs from Dify: Jinja templates run in this process, not in Dify's code sandbox, and a model's image output is
refused.
"""

from collections.abc import Mapping
from typing import Any, NoReturn, override

import jinja2.sandbox
from graphon.nodes.llm.exc import LLMNodeError
from graphon.template_rendering import Jinja2TemplateRenderer, TemplateRenderError


class JinjaRenderer(Jinja2TemplateRenderer):
    """Renders Jinja templates in Jinja's own sandbox."""

    @override
    def render_template(self, template: str, variables: Mapping[str, Any]) -> str:
        """The rendered text. Raises TemplateRenderError."""
        environment = jinja2.sandbox.SandboxedEnvironment(autoescape=False)
        try:
            return environment.from_string(template).render(**variables)
        except jinja2.TemplateError as error:
            raise TemplateRenderError(str(error)) from error


class NoFiles:
    """Takes the place of Dify's file storage."""

    def save_binary_string(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        raise LLMNodeError("Dify in a box keeps no files")

    def save_remote_url(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        raise LLMNodeError("Dify in a box keeps no files")
