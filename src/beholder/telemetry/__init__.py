"""What the service reports of itself: log lines with a stable `action` key, and Prometheus metrics."""
