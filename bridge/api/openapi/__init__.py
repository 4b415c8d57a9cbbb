"""The bridge describes itself: an OpenAPI 3.1 document of all that it serves over HTTP.

operation   what is said of a route, beside its code; the shape of errors
sentences   what is said of each field of a model, in the line below it
document    the document, made of the routes and the models of their bodies, with an example of each; GET /openapi.json
"""
