"""Dify in a box: the engine of Dify 1.16, a real plugin process and the service API, for the demo and the tests.

Nothing that serves in production imports this room. What the box imitates is Dify 1.16.0 with plugin daemon 0.6;
where it differs, a comment beginning with "Differs from Dify" says so.
"""
