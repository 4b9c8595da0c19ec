"""Bounds what one connection may take, and answers bytes that are no HTTP request."""
