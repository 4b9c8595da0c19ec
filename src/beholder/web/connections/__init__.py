"""What a connection may take, and what is answered to bytes that are no request."""
