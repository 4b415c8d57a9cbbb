"""`clawback doctor`: every hop from this machine to the upstream and back, one line each.

lines            what is told of one hop: green, red with what to do, or not looked at
own_files        the configuration, the store
bridge_hop       the bridge that serves here
dify_hop         Dify, the app's key, its kind, its Start node, its clock
probe            one small run through everything
probe_lines      what the probe says of the plugin, the way back, the upstream
waits            waits that Dify cut short
openclaw_hop     the bridge's entry in OpenClaw's configuration
json5            just enough of JSON5 to read that
examination      all of it, in order
command          the command itself
"""
