"""`python -m demo.box`: serve app exports as Dify would, until SIGTERM or SIGINT.

Prints one JSON line when ready: {"dify_url", "plugin": {"pid", "sdk"}, "apps": [{"name", "key", "app_id"}]}.
"""

# Dify runs graphon under gevent too (celery -P gevent); the patch comes before anything that makes threads or sockets.
from gevent import monkey

monkey.patch_all()

import logging  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402

from demo.box.command_line import parse  # noqa: E402
from demo.box.plugin_process import PluginStartError  # noqa: E402
from demo.box.server import Box, serve  # noqa: E402
from tools.logs import Readable  # noqa: E402
from tools.visible import visible  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to end. Gives 1 when the box could not start."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Readable("box: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    config = parse(arguments)
    try:
        serve(Box(config))
    except (ValueError, OSError, PluginStartError) as error:
        sys.stderr.write(visible(f"box: {error}\n", lines=True))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
