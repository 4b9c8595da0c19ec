"""The web tier: accepts images over HTTP, stores each, sends its message to the queue, and answers.

Nothing is imported here, so that the settings know the tier's limits without a web framework.
"""
