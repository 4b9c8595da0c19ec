"""The limit of this machine: processes that decode and classify in a bare loop, with no server around them.

The work of one image is what any serving framework's handler would do with the same model and runtime:
decode a JPEG with libjpeg-turbo at reduced scale, crop, resize with OpenCV, normalise in numpy, run
OpenVINO at batch 1 on one thread. It shares no code with beholder on purpose, so that a slip of ours cannot
move the limit.

    python bench/bare.py FOLDER PROCESSES SECONDS

prints one JSON object: images per second of all processes together, and the median milliseconds of one image.
"""

import json
import multiprocessing
import statistics
import sys
import time
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import openvino
import simplejpeg

SIDE = 224


class Handler:
    """One image's work."""

    def __init__(self) -> None:
        cv2.setNumThreads(1)
        core = openvino.Core()
        path = resources.files("beholder.model") / "builtin" / "efficientnet-lite0" / "model.onnx"
        model = core.read_model(str(path))
        model.reshape([1, 3, SIDE, SIDE])
        has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        config = {
            "INFERENCE_NUM_THREADS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if has_bf16 else "f32",
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled = core.compile_model(model, "CPU", config)

    def __call__(self, data: bytes) -> int:
        image = simplejpeg.decode_jpeg(data, colorspace="RGB", min_height=256, min_width=256, min_factor=1)
        height, width = image.shape[:2]
        side = int(SIDE / (SIDE + 32) * min(height, width))
        top, left = (height - side + 1) // 2, (width - side + 1) // 2
        square = image[top : top + side, left : left + side]
        how = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
        scaled = cv2.resize(square, (SIDE, SIDE), interpolation=how)
        tensor = ((scaled.astype(np.float32) - 127.0) * (1 / 128.0)).transpose(2, 0, 1)
        return int(self._compiled(tensor[None])[0].argmax(1)[0])


def loop(
    images: list[bytes], seconds: float, results: multiprocessing.Queue, start: multiprocessing.Event
) -> None:
    handler = Handler()
    handler(images[0])
    results.put(None)
    start.wait()
    times_s = []
    begin_s = last_s = time.perf_counter()
    while last_s - begin_s < seconds:
        handler(images[len(times_s) % len(images)])
        now_s = time.perf_counter()
        times_s.append(now_s - last_s)
        last_s = now_s
    results.put((len(times_s) / (last_s - begin_s), statistics.median(times_s) * 1000))


def main() -> None:
    folder, processes, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    images = [
        path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix.lower() in (".jpg", ".jpeg")
    ]
    context = multiprocessing.get_context("spawn")
    results, start = context.Queue(), context.Event()
    running = [context.Process(target=loop, args=(images, seconds, results, start)) for _ in range(processes)]
    for process in running:
        process.start()
    for _ in running:
        results.get()
    start.set()
    rates = [results.get() for _ in running]
    for process in running:
        process.join()
    print(json.dumps({"images_per_s": sum(rate for rate, _ in rates), "ms_p50": rates[0][1]}))


if __name__ == "__main__":
    main()
