"""The bridge describes itself: an OpenAPI 3.1 document of all that it serves over HTTP.

operation   what is said of a route, beside its code; the shape of errors
document    the document, made of the routes and the models of their bodies, with an example of each; GET /openapi.json
"""
