"""Tool calls as text: for models that only write text, and for clients that would execute text.

formats      the one table of how calls are written, which all others go by
reader       what a model writes becomes text to show and calls of declared tools, as it comes
events       what the reader says
parsing      the reader on a whole text
plain_turns  calls and results in the turns of a client that gets calls as text
stopping     what a node says of its calls when it ends with them

What a model is told, and how calls and results are written for it:
families     in which form a model has learned to call tools
prompt       the part of a system message: phrases in its language, signatures of tools, an example
plain_schema, schema_parts   what signatures show of a schema
writer, text_transcript      calls and results, and the whole conversation

Against what OpenClaw does with text, for the bridge:
deeds         the one table of what OpenClaw acts on        interrupted    patterns with something inside them
guard         an answer is taken for no call                orders         and for no order
whole_answers what OpenClaw does with an answer as a whole

Below the reader:
tape         text that is still being written, for a grammar that waits for more of it
patterns     patterns that know when they have begun
openers      what may begin a call, compiled for a set of tools
grammar      calls, each notation told by how it stands there
fences       fenced code that is a call as a whole
json_text    JSON as models write it
python_text  calls in Python, read as literals
tag_text, tag_tree   arguments as tags, and tags in other spellings
gemma_text   Gemma's own notation
toolbox      the declared tools
schema       arguments typed by a JSON schema and checked against it
"""

from typing import Any

__all__ = ["parse"]


def __getattr__(name: str) -> Any:
    # Late: whoever needs a part of this, such as the bridge as it starts, need not load the reader.
    if name == "parse":
        from tools.openclaw_text.parsing import parse

        return parse
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
