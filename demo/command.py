"""`clawback demo`: the main job, end to end, on this machine."""

import click

from demo import environment
from demo.task import EXAMPLES


@click.command()
@click.option(
    "--client",
    type=click.Choice(["builtin", "openclaw"]),
    default="builtin",
    help="The client that asks and runs the tools.",
)
@click.option(
    "--app",
    type=click.Choice([*EXAMPLES, "tools"]),
    default="minimal",
    help="The example app to use; tools: one with tools of Dify and of an executor beside the client's.",
)
@click.option(
    "--upstream", metavar="URL", help="Ask a real OpenAI-compatible model server instead of the scripted one."
)
@click.option("--model", metavar="NAME", help="The upstream's model; needed with --upstream.")
@click.option("--api-key", envvar="UPSTREAM_API_KEY", default="", help="The upstream's key [env: UPSTREAM_API_KEY].")
@click.option("--keep", is_flag=True, help="Keep all parts running until Ctrl-C, with three runs to look at.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end instead of each step.")
def demo(
    client: str, app: str, upstream: str | None, model: str | None, api_key: str, keep: bool, as_json: bool
) -> None:
    """Run a task with tool calls on this machine: a client, the bridge, a Dify app, the plugin and a model."""
    if upstream and not model:
        raise click.UsageError("--upstream needs --model: the name of the model to ask there")
    environment.enter()
    from demo.play import play

    play(client, app, upstream, model, api_key, keep=keep, as_json=as_json)
