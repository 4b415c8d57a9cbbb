"""Dify in a box: the engine of Dify 1.16, a real plugin process and the service API, for the demo and the tests.

Nothing that serves in production imports this room. What the box imitates is Dify 1.16.0 with plugin daemon 0.6;
where it differs, a comment beginning with "Differs from Dify" says so.

server, command_line, config    puts a box together, with what can be set
service_api     Dify's service API: requests, responses, sse, http_errors, access, admission
runs            runs an app: app_export, inputs, listener, topic, failures, usage, templates
engine          one execution of a graph by graphon: node_factory, engine_names, ready_queue, quiet_events
pipeline        what a graph does, as the service API says it; forms that pause it
basic_app, basic_pipeline   apps of before there were chatflows
model           what a node's model is: plugin_process, plugin_daemon, plugin_folder, credentials, errors, memory
store           what Dify keeps
workspace, endpoints, console   its tools, and plugins that are called from outside
debug_api       a look inside, for tests
"""
