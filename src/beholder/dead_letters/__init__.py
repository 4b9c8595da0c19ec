"""What becomes of messages that were received too often, and the way back for them."""
