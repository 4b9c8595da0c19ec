"""What any serving framework's handler would do for one image, with beholder's model and runtime.

Decode a JPEG with libjpeg-turbo at reduced scale, crop, resize with OpenCV, normalise in numpy, run OpenVINO
at batch 1 on one thread. The bare loop and the peers run it, the peers in an environment of their own, so it
shares no code with beholder; nor can a slip of beholder's move the limit.
"""

import cv2
import numpy as np
import openvino
import simplejpeg

SIDE = 224


class Handler:
    """One image's work: JPEG bytes in, the index of the most probable label out.

    Args:
        model: Path of EfficientNet-Lite0 as ONNX, `n,3,224,224` in, logits out.
        precision: `bf16` or `f32`, in OpenVINO's words.
    """

    def __init__(self, model: str, precision: str) -> None:
        cv2.setNumThreads(1)
        core = openvino.Core()
        graph = core.read_model(model)
        graph.reshape([1, 3, SIDE, SIDE])
        config = {
            "INFERENCE_NUM_THREADS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            # With pinning, two processes of one thread each share the first core.
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled = core.compile_model(graph, "CPU", config)

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
