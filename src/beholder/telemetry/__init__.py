"""What the service says of itself: log lines with a stable `action` key, and Prometheus metrics."""
