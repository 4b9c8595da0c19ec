"""Webhooks: a POST to an address that a request named, once its job has its outcome."""
