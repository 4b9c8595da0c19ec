"""What workers and the dead-letter consumer share: parsed messages, outcomes, replies, and failed steps."""
