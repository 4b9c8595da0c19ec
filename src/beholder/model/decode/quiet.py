"""Keeps what codecs print of damaged images out of the log: the error that `decode` raises says it."""

import ctypes
import warnings

import cv2
from PIL import TiffImagePlugin, _imaging

__all__ = ["quieten"]


def quieten() -> None:
    """Turn off the codecs' own reports, in this process, once and for all threads."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    TiffImagePlugin.logger.disabled = True  # the only one that logs errors
    warnings.filterwarnings("ignore", module=r"PIL\.")
    _quieten_libtiff()


def _quieten_libtiff() -> None:
    """Take away the handlers with which libtiff prints to standard error."""
    # The libtiff that Pillow is linked with is found through Pillow's own library, wherever it lies.
    try:
        library = ctypes.CDLL(_imaging.__file__)
        setters = (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler)
    except (OSError, AttributeError):
        return  # linked in another way: the lines are then printed, which does no harm
    for setter in setters:
        setter.argtypes, setter.restype = (ctypes.c_void_p,), ctypes.c_void_p
        setter(None)
