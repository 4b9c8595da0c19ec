"""What the service reports: log lines with a stable `action` key, and Prometheus metrics."""
