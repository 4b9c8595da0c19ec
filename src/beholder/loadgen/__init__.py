"""The workload generator: sends images to a running service and reports how it did.

It is a client: it knows the service by its HTTP interface alone. `plan.py` says what to send and when,
`engine.py` sends it, `report.py` holds the figures. Nothing is imported here, since some callers need one
module and not the HTTP client of another.
"""
