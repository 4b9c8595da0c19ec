"""Outcomes and replies, as both the worker and the dead-letter consumer write them."""
