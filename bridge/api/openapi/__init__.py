"""The bridge describes itself: an OpenAPI 3.1 document of all that it serves over HTTP.

operation   what is said of a route, beside its code; the shape of errors
document    the document, made of the application's routes and of the models that check their bodies; GET /openapi.json
examples    a body of each kind, as a client would send or get it
"""
