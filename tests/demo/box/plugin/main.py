from dify_plugin import DifyPluginEnv, Plugin

plugin = Plugin(DifyPluginEnv(MAX_WORKER=1000))

if __name__ == "__main__":
    plugin.run()
