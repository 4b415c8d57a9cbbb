"""The plugin's entry: Dify's plugin daemon starts `python -m main` in this folder.

A start is mostly the import of Dify's SDK. Two things make it a quarter shorter: the SDK's many objects are not
searched for garbage while they are made, and the YAML files are read by libyaml where PyYAML brings it.
"""

import gc

gc.disable()

import yaml  # noqa: E402
from dify_plugin import DifyPluginEnv, Plugin  # type: ignore[import-untyped]  # noqa: E402

yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

plugin = Plugin(DifyPluginEnv())

gc.enable()
gc.freeze()

if __name__ == "__main__":
    plugin.run()
