"""The plugin as Dify installs it: one file, the same bytes for the same sources.

contents   which files are in it, and the zip file of them
trial      starts what was installed, as Dify does            command    `clawback package`
"""
