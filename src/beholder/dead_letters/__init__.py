"""What becomes of messages that were received too often, and how they are sent back."""
