"""The bridge as a process.

gunicorn   serves the application with one gevent worker      worker   that worker
serving    says in a file where it serves                     banner   says it to a person
reload     takes a changed configuration                      logs, metrics, tracing
"""
