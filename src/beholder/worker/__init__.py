"""The app tier: receives messages, recognises images, stores results, replies, and only then acknowledges."""
