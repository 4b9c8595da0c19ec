"""The app tier: takes messages, recognises images, stores results, replies, and only then acknowledges.

Nothing is imported here: the web tier runs the dead-letter consumer, and needs no numpy for it.
"""
