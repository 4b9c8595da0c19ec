"""The client for programs that block."""

import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from itertools import islice
from typing import Self, TypeVar, Unpack

import httpx2

from beholder.client import steps
from beholder.client.access import ServiceAccess, id_of
from beholder.client.answers import HttpAnswer
from beholder.client.errors import ServiceUnreachable
from beholder.client.images import FileResult, Image, failed, find_images, name_of, read_image
from beholder.client.steps import HttpRequest, Parameters, Steps
from beholder.clock import Clock, MonotonicClock
from beholder.errors import BeholderError
from beholder.job import Job

__all__ = ["Client"]

_Done = TypeVar("_Done")

_CLOCK = MonotonicClock()


class Client:
    """A service of beholder, as a program sees it; several threads may share one.

    A request that has no answer, or an error that passes (429, 502, 503, 504), is sent again when the service
    says, or after growing pauses, until the call's time is over. Each image carries an idempotency key, so
    that the service never runs it twice.

    Args:
        url: The service's address.
        api_key: The API key; by default that of the environment variable BEHOLDER_API_KEY, or none.
        timeout_s: How long one call may take, with its retries and its waiting.
        host_name: The name that its certificate has, if not the one in the URL.
        clock: The time.
        jitter: Returns a random number from 0 to 1, which spreads retries.
        pause: Waits so many seconds; returns true to end the call.
        transport: Sends the requests in httpx's place.

    Raises:
        ConfigError: The address or the key is none.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        api_key: str | None = None,
        timeout_s: float = 600.0,
        host_name: str = "",
        clock: Clock = _CLOCK,
        jitter: Callable[[], float] = random.random,
        pause: Callable[[float], object] | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._access = ServiceAccess(url, api_key, timeout_s, host_name=host_name, clock=clock, jitter=jitter)
        self._http = httpx2.Client(**self._access.options(transport))
        self._pause = pause
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close the connections, and end the pauses of calls in other threads."""
        self._closed.set()
        self._http.close()

    def classify(
        self, image: Image, *, idempotency_key: str | None = None, **parameters: Unpack[Parameters]
    ) -> Job:
        """Return the finished job of an image.

        Args:
            image: A file's path, an address (http, https, s3), the bytes of a file, or an open file.
            idempotency_key: Names the job; by default a new one, which only the retries of this call share.
            parameters: What is asked of the classifier.

        Raises:
            BeholderError: The error that the service answers, or that the job ended with.
            ConfigError: The address is not that of a service of beholder.
            OSError: The file cannot be read.
            OutcomeLate: The outcome does not come in time; the job goes on.
            ServiceUnreachable: The service does not answer.
        """
        return self._classify(image, idempotency_key, parameters, self._closed)

    def submit(
        self, image: Image, *, idempotency_key: str | None = None, **parameters: Unpack[Parameters]
    ) -> Job:
        """Return the job of an image without waiting for its outcome; `wait` returns that.

        Args:
            image: As `classify` has it.
            idempotency_key: As `classify` has it.
            parameters: What is asked of the classifier.

        Raises:
            BeholderError: The error that the service answers.
            ConfigError: The address is not that of a service of beholder.
            OSError: The file cannot be read.
            ServiceUnreachable: The service does not answer.
        """
        key = idempotency_key or self._access.new_key()
        body, patience = read_image(image), self._access.patience()
        return self._run(steps.classify(body, parameters, key, patience, is_awaited=False), self._closed)

    def get(self, job: Job | str) -> Job:
        """Return a job as it is now, whatever its outcome.

        Raises:
            BeholderError: The error that the service answers.
            ConfigError: The address is not that of a service of beholder.
            ServiceUnreachable: The service does not answer.
        """
        return self._run(steps.get(id_of(job), self._access.patience()), self._closed)

    def wait(self, job: Job | str, *, timeout_s: float | None = None) -> Job:
        """Return a job once it is finished.

        Args:
            job: The job, or its id.
            timeout_s: How long to wait; by default as long as any call.

        Raises:
            BeholderError: The error that the service answers, or that the job ended with.
            ConfigError: The address is not that of a service of beholder.
            OutcomeLate: The outcome does not come in time; the job goes on.
            ServiceUnreachable: The service does not answer.
        """
        return self._run(steps.wait(id_of(job), self._access.patience(timeout_s)), self._closed)

    def cancel(self, job: Job | str) -> Job:
        """Cancel a job and return it.

        Raises:
            BeholderError: The error that the service answers.
            ConfigError: The address is not that of a service of beholder.
            ServiceUnreachable: The service does not answer.
        """
        return self._run(steps.cancel(id_of(job), self._access.patience()), self._closed)

    def retry(self, job: Job | str) -> Job:
        """Run the image of a failed job again; return the new job without waiting for its outcome.

        Raises:
            BeholderError: The error that the service answers.
            ConfigError: The address is not that of a service of beholder.
            ServiceUnreachable: The service does not answer.
        """
        return self._run(steps.retry(id_of(job), self._access.patience()), self._closed)

    def delete(self, job: Job | str) -> None:
        """Delete a job, its image and its result; cancel it if it is unfinished.

        Raises:
            BeholderError: The error that the service answers.
            ConfigError: The address is not that of a service of beholder.
            ServiceUnreachable: The service does not answer.
        """
        self._run(steps.delete(id_of(job), self._access.patience()), self._closed)

    def models(self) -> tuple[str, ...]:
        """Return the models that the service has, as `model` takes them: `name@version`, the default first.

        Raises:
            BeholderError: The error that the service answers.
            ConfigError: The address is not that of a service of beholder.
            ServiceUnreachable: The service does not answer.
        """
        return self._run(steps.models(self._access.patience()), self._closed)

    def batch(
        self, folder: str | os.PathLike[str], *, concurrency: int = 8, **parameters: Unpack[Parameters]
    ) -> Iterator[FileResult]:
        """Classify every image of a folder and of the folders below it, as `stream` does.

        Raises:
            ConfigError: The folder holds no image.
            ServiceUnreachable: The service does not answer.
            Unauthorized: The service refuses the API key.
        """
        return self.stream(find_images([os.fspath(folder)]), concurrency=concurrency, **parameters)

    def stream(
        self,
        images: Iterable[Image],
        *,
        concurrency: int = 8,
        is_ordered: bool = False,
        **parameters: Unpack[Parameters],
    ) -> Iterator[FileResult]:
        """Classify images, and yield the result of each as it comes.

        An image that fails does not stop the others: its error is in its result. No more
        images are in memory than are classified at once.

        Args:
            images: As `classify` has them; taken one by one.
            concurrency: How many are classified at once.
            is_ordered: Whether the results come in the order of the images.
            parameters: What is asked of the classifier.

        Raises:
            ConfigError: The address is not that of a service of beholder.
            ServiceUnreachable: The service does not answer.
            Unauthorized: The service refuses the API key.
        """
        left, running, stopped = iter(images), list[Future[FileResult]](), threading.Event()
        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="beholder-client")
        try:
            while True:
                for image in islice(left, concurrency - len(running)):
                    running.append(pool.submit(self._result_of, image, parameters, stopped))
                if not running:
                    return
                awaited = running[:1] if is_ordered else running
                for done in wait_for(awaited, return_when=FIRST_COMPLETED).done:
                    running.remove(done)
                    yield done.result()
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)

    def _result_of(self, image: Image, parameters: Parameters, stopped: threading.Event) -> FileResult:
        try:
            job = self._classify(image, None, parameters, stopped)
        except (BeholderError, OSError) as exc:
            return failed(image, exc)
        return FileResult(name_of(image), job.labels)

    def _classify(
        self, image: Image, key: str | None, parameters: Parameters, stopped: threading.Event
    ) -> Job:
        key = key or self._access.new_key()
        body, patience = read_image(image), self._access.patience()
        return self._run(steps.classify(body, parameters, key, patience, is_awaited=True), stopped)

    def _run(self, call: Steps[_Done], stopped: threading.Event) -> _Done:
        pause = self._pause or stopped.wait
        try:
            request = next(call)
            while True:
                if request.after_s and pause(request.after_s):
                    raise ServiceUnreachable("the call was ended before its answer came")
                request = call.send(self._sent(request))
        except StopIteration as done:
            result: _Done = done.value
            return result

    def _sent(self, request: HttpRequest) -> HttpAnswer | ServiceUnreachable:
        try:
            return self._access.answer(self._http.request(**self._access.arguments(request)))
        except httpx2.RequestError as exc:
            return self._access.failure(exc)
