"""The client for programs that run in an event loop."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
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

__all__ = ["AsyncClient"]

_Done = TypeVar("_Done")

_CLOCK = MonotonicClock()


class AsyncClient:
    """A service of beholder, as a program in an event loop sees it; `Client` has the same methods.

    Args:
        url: The service's address.
        api_key: The API key; by default that of the environment variable BEHOLDER_API_KEY, or none.
        timeout_s: How long one call may take, with its retries and its waiting.
        host_name: The name that its certificate has, if not the one in the URL.
        clock: The time.
        jitter: Returns a random number from 0 to 1, which spreads retries.
        pause: Waits so many seconds.
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
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._access = ServiceAccess(url, api_key, timeout_s, host_name=host_name, clock=clock, jitter=jitter)
        self._http = httpx2.AsyncClient(**self._access.options(transport))
        self._pause = pause

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def classify(
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
        return await self._classify(image, idempotency_key, parameters, is_awaited=True)

    async def submit(
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
        return await self._classify(image, idempotency_key, parameters, is_awaited=False)

    async def get(self, job: Job | str) -> Job:
        """Return a job as it is now, whatever its outcome.

        Raises:
            BeholderError: The error that the service answers.
            ConfigError: The address is not that of a service of beholder.
            ServiceUnreachable: The service does not answer.
        """
        return await self._run(steps.get(id_of(job), self._access.patience()))

    async def wait(self, job: Job | str, *, timeout_s: float | None = None) -> Job:
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
        return await self._run(steps.wait(id_of(job), self._access.patience(timeout_s)))

    async def cancel(self, job: Job | str) -> Job:
        """Cancel a job and return it.

        Raises:
            BeholderError: The error that the service answers.
            ConfigError: The address is not that of a service of beholder.
            ServiceUnreachable: The service does not answer.
        """
        return await self._run(steps.cancel(id_of(job), self._access.patience()))

    async def retry(self, job: Job | str) -> Job:
        """Run the image of a failed job again; return the new job without waiting for its outcome.

        Raises:
            BeholderError: The error that the service answers.
            ConfigError: The address is not that of a service of beholder.
            ServiceUnreachable: The service does not answer.
        """
        return await self._run(steps.retry(id_of(job), self._access.patience()))

    async def delete(self, job: Job | str) -> None:
        """Delete a job, its image and its result; cancel it if it is unfinished.

        Raises:
            BeholderError: The error that the service answers.
            ConfigError: The address is not that of a service of beholder.
            ServiceUnreachable: The service does not answer.
        """
        await self._run(steps.delete(id_of(job), self._access.patience()))

    async def models(self) -> tuple[str, ...]:
        """Return the models that the service has, as `model` takes them: `name@version`, the default first.

        Raises:
            BeholderError: The error that the service answers.
            ConfigError: The address is not that of a service of beholder.
            ServiceUnreachable: The service does not answer.
        """
        return await self._run(steps.models(self._access.patience()))

    def batch(
        self, folder: str | os.PathLike[str], *, concurrency: int = 8, **parameters: Unpack[Parameters]
    ) -> AsyncIterator[FileResult]:
        """Classify every image of a folder and of the folders below it, as `stream` does.

        Raises:
            ConfigError: The folder holds no image.
            ServiceUnreachable: The service does not answer.
            Unauthorized: The service refuses the API key.
        """
        return self.stream(find_images([os.fspath(folder)]), concurrency=concurrency, **parameters)

    async def stream(
        self,
        images: Iterable[Image],
        *,
        concurrency: int = 8,
        is_ordered: bool = False,
        **parameters: Unpack[Parameters],
    ) -> AsyncIterator[FileResult]:
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
        left, running = iter(images), list[asyncio.Task[FileResult]]()
        try:
            while True:
                for image in islice(left, concurrency - len(running)):
                    running.append(asyncio.create_task(self._result_of(image, parameters)))
                if not running:
                    return
                awaited = running[:1] if is_ordered else running
                done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    running.remove(one)
                    yield one.result()
        finally:
            for one in running:
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _result_of(self, image: Image, parameters: Parameters) -> FileResult:
        try:
            job = await self._classify(image, None, parameters, is_awaited=True)
        except (BeholderError, OSError) as exc:
            return failed(image, exc)
        return FileResult(name_of(image), job.labels)

    async def _classify(
        self, image: Image, key: str | None, parameters: Parameters, *, is_awaited: bool
    ) -> Job:
        key = key or self._access.new_key()
        body, patience = await asyncio.to_thread(read_image, image), self._access.patience()
        return await self._run(steps.classify(body, parameters, key, patience, is_awaited=is_awaited))

    async def _run(self, call: Steps[_Done]) -> _Done:
        try:
            request = next(call)
            while True:
                if request.after_s:
                    await self._pause(request.after_s)
                request = call.send(await self._sent(request))
        except StopIteration as done:
            result: _Done = done.value
            return result

    async def _sent(self, request: HttpRequest) -> HttpAnswer | ServiceUnreachable:
        try:
            return self._access.answer(await self._http.request(**self._access.arguments(request)))
        except httpx2.RequestError as exc:
            return self._access.failure(exc)
