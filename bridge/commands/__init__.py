"""Commands that are about the bridge and no part of it; nothing that serves imports them.

package   `clawback package`: the plugin as Dify installs it
"""
