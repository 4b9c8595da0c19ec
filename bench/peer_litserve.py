"""The handler behind LitServe: `python peer_litserve.py PORT`."""

import os
import sys

import litserve
from fastapi import UploadFile

from handler import Handler


class Classify(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        self._handler = Handler(os.environ["BENCH_MODEL"], os.environ["BENCH_PRECISION"])

    def decode_request(self, request: UploadFile) -> bytes:
        return request.file.read()

    def predict(self, data: bytes) -> int:
        return self._handler(data)

    def encode_response(self, label: int) -> dict[str, int]:
        return {"label": label}


if __name__ == "__main__":
    server = litserve.LitServer(Classify(), accelerator="cpu", workers_per_device=2)
    server.run(
        port=int(sys.argv[1]),
        host="127.0.0.1",
        num_api_servers=1,
        log_level="error",
        generate_client_file=False,
    )
