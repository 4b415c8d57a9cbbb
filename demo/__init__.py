"""The main job, played on real parts and told live.

stack        starts the parts: scripted upstream, Dify in a box with the plugin, bridge
service      one part: a process that says when it is ready
local_tools  tools that run on this machine, in the demo's own folder
client       a small client of the bridge that runs them
openclaw     the real OpenClaw instead of it
task         what is asked for
story        tells who sends what to whom, as it happens
report       what happened, read from the bridge's store
play         starts, plays or keeps, and ends: what `clawback demo` does
mixed        one node, and tools in three places: what `--app tools` plays
kept         what `--keep` has to look at: three runs, a policy, and a way in
environment  where the demo runs when Clawback was installed from its wheel
command      `clawback demo`
box          Dify in a box: the engine that Dify runs, behind its service API
scripted     an upstream that does what it is told
"""
