"""The bridge as a process.

gunicorn   serves the application with one gevent worker      worker   that worker
serving    says where it serves, and who uses a port          reload   takes a changed configuration
logs, metrics, tracing   what it tells of itself              notify   tells people elsewhere
figures    durations, times, numbers and ids as people read them
said       its sentences in the language of who reads them: said.LANGUAGE.toml
"""
