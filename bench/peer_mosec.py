"""The handler behind mosec: `python peer_mosec.py --port N --address 127.0.0.1`."""

import os

from mosec import Server, Worker

from handler import Handler


class Classify(Worker):
    def __init__(self) -> None:
        super().__init__()
        self._handler = Handler(os.environ["BENCH_MODEL"], os.environ["BENCH_PRECISION"])

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: bytes) -> dict[str, int]:
        return {"label": self._handler(data)}


if __name__ == "__main__":
    server = Server()
    server.append_worker(Classify, num=2)
    server.run()
