"""How a worker leaves by itself: heartbeat, idle time, the drain protocol, and the end of its instance."""
