"""beholder: image recognition as a service, whole on one machine or in your own AWS account.

The folders follow the image's way: `web` takes it in, `store` and `queue` carry it, `worker` and `model`
recognise it, and `web` answers. `wiring` alone decides which backend stands behind which port.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
