"""The entry of Clawback Tools: Dify's plugin daemon starts `python -m main` in this folder."""

from dify_plugin import DifyPluginEnv, Plugin  # type: ignore[import-untyped]

# As long as the daemon lets an endpoint run (PLUGIN_MAX_EXECUTION_TIMEOUT), which is longer than the SDK's default.
plugin = Plugin(DifyPluginEnv(MAX_REQUEST_TIMEOUT=600))

if __name__ == "__main__":
    plugin.run()
