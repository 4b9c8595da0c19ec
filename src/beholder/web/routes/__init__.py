"""What a client may ask: each route makes a request of the exchange and renders what comes back."""
