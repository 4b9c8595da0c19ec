"""Routes in the forms of other services, so that their clients work unchanged; one file for each client.

A file translates: it finds the image and the options in a request, and writes labels and errors. Everything
between is `Classification`, as for the service's own routes.
"""
