"""The pure policy: an observation, the limits and a state make a decision; no clock and no port is read."""
