"""The parts of OpenVINO that load its CPU plugin."""

import ctypes
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from beholder.model.graph import import_openvino
from beholder.model.mapped_file import pages_given_back

__all__ = ["compile_model", "cpu_capabilities"]


def compile_model(model: Any, settings: Mapping[str, Any]) -> Any:
    """Return a model of OpenVINO compiled for the CPU.

    Raises:
        RuntimeError: OpenVINO cannot compile it.
    """
    # The model keeps its weights' file mapped.
    with _signal_stack_kept(), pages_given_back():
        return import_openvino().Core().compile_model(model, "CPU", settings)


def cpu_capabilities() -> list[str]:
    """Return what the CPU computes in, such as 'FP32' and 'BF16'."""
    with _signal_stack_kept():
        return list(import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


class _SignalStack(ctypes.Structure):
    """`stack_t` of sigaltstack(2) on Linux."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def _signal_stack_kept() -> Iterator[None]:
    """Leave the thread with the signal stack that it had.

    A plugin gives the thread that loads it one of its own, and puts back the former when it is unloaded.
    Unloaded by another thread, or before an earlier plugin, it leaves that thread with a stack that is freed:
    the next signal, such as the SIGTERM that asks a worker to drain, is a segmentation fault.
    Source: openvino 2026.4, src/plugins/intel_cpu/src/plugin.cpp, SigAltStackSetup (2026-11)
    """
    if sys.platform != "linux":  # nor does the plugin do so elsewhere
        yield
        return
    library, kept = ctypes.CDLL(None), _SignalStack()
    library.sigaltstack(None, ctypes.byref(kept))
    try:
        yield
    finally:
        library.sigaltstack(ctypes.byref(kept), None)
