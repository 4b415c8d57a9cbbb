"""The plugin's entry: Dify's plugin daemon starts `python -m main` in this folder."""

from dify_plugin import DifyPluginEnv, Plugin  # type: ignore[import-untyped]

plugin = Plugin(DifyPluginEnv())

if __name__ == "__main__":
    plugin.run()
