"""`clawback doctor`: every hop from this machine to the upstream and back, one line each.

lines            what is told of one hop: green, red with what to do, or not looked at
own_parts        the configuration, the store, the bridge that serves here
dify_hop         Dify, the app's key, its kind, its Start node, its tools and its clock, waits that it cut short
probe            one small run through everything
openclaw_hop     the bridge's entry in OpenClaw's configuration
command          all of it, in order, and the command itself
"""
