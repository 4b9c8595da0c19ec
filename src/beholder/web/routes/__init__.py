"""The endpoints: each route reads the HTTP request, calls what serves it, and renders the answer."""
