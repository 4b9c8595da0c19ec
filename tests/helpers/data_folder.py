"""A data folder with jobs in it, and the commands that work on one."""

import json
import os
import subprocess
import sys
from pathlib import Path

from beholder.clock import SystemClock
from beholder.config import make_settings
from beholder.job import Job, JobInput, JobStatus, Message, Options, new_job_id
from beholder.job.job import Result
from beholder.store.keys import image_key, result_key
from beholder.wiring import profile_of

__all__ = ["fill", "run"]


def run(*arguments: str) -> tuple[int, str, str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BEHOLDER_")}
    done = subprocess.run(
        [sys.executable, "-m", "beholder", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment,
    )
    return done.returncode, done.stdout, done.stderr


def fill(data_dir: Path, count: int, *, finished: int = 0) -> list[str]:
    """Accept `count` images as the web tier does; the first `finished` of them have an outcome."""
    clock, ids = SystemClock(), []
    with profile_of(make_settings(data_dir=data_dir)).open_backends("") as backends:
        for number in range(count):
            job_id = new_job_id(clock.now_s())
            key = image_key(job_id, "a.jpg")
            options = {"top_k": 3}
            backends.images.put(key, b"x", metadata={"order": json.dumps({"options": options})})
            message = Message(job_id, clock.now_s(), JobInput(key, "a.jpg", 1, Options(**options)))
            if number < finished:
                job = Job(job_id, JobStatus.SUCCEEDED, clock.now_s(), result=Result(()))
                backends.results.put(result_key(job_id), json.dumps(job.to_dict()).encode())
            else:
                backends.queue.send([message.to_bytes()])
            ids.append(job_id)
    return ids
