"""`clawback completion`."""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete commands and options.

    \b
    bash:  eval "$(clawback completion bash)"    in ~/.bashrc
    zsh:   eval "$(clawback completion zsh)"     in ~/.zshrc
    fish:  clawback completion fish | source     in ~/.config/fish/config.fish
    """
    found = get_completion_class(shell)
    if found:
        click.echo(found(ctx.find_root().command, {}, "clawback", "_CLAWBACK_COMPLETE").source())
