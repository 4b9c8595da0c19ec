"""Every error of beholder, in one tree; the branch says who must act.

    BeholderError
    ├── RequestError        the caller: change the request (4xx), or come back later (503)
    ├── JobError            nobody: recorded as the job's outcome
    ├── BackendError        the operator: a queue or store misbehaves
    └── ConfigError         the person who starts the process: all problems at once

An error has a stable `code`, the `http_status` of its answer, and a flag for whether the same call may
succeed later (`retryable`). The docstring of a class is its default message, written for the reader of an
answer. `web/connections/errors.py` has the errors of bytes that are no HTTP request.
"""

from collections.abc import Sequence
from typing import ClassVar

__all__ = ["BackendError", "BeholderError", "ConfigError", "JobError", "RequestError", "all_errors"]


class BeholderError(Exception):
    """Something went wrong inside beholder; its log has the reason."""

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    is_about_request: ClassVar[bool] = False

    def __init__(self, message: str | None = None) -> None:
        """`message` defaults to the first paragraph of the class's docstring."""
        super().__init__(message or default_message(type(self)))

    @property
    def message(self) -> str:
        """The sentence for the log and for the operator."""
        return str(self.args[0])

    @property
    def detail(self) -> str:
        """The sentence for anonymous callers: the message if it is about their request, or the default."""
        is_shown = self.is_about_request and not self._quotes_library()
        return self.message if is_shown else default_message(type(self))

    def _quotes_library(self) -> bool:
        cause = "" if isinstance(self.__cause__, BeholderError) else str(self.__cause__ or "")
        return any(line.strip() in self.message for line in cause.splitlines() if line.strip())


def default_message(error: type[BeholderError]) -> str:
    """Return the first paragraph of an error's docstring on one line."""
    return " ".join((error.__doc__ or "").split("\n\n")[0].split())


# --- the caller must act ------------------------------------------------------------------------------------


class RequestError(BeholderError):
    """The request cannot be served as it is."""

    code = "bad_request"
    http_status = 400
    is_about_request = True


class BadParameter(RequestError):
    """A parameter of the request has a value that is not allowed."""

    code = "bad_parameter"


class ParameterUnknown(RequestError):
    """The request names a parameter that this path does not take."""

    code = "parameter_unknown"


class ParameterRepeated(RequestError):
    """The request gives a parameter more than once; give it once."""

    code = "parameter_repeated"


class ImageMissing(RequestError):
    """The request holds no image; send it as the body, or as a multipart field named myfile."""

    code = "image_missing"


class ImagesTooMany(RequestError):
    """The form holds more than one file; send one image in each request."""

    code = "images_too_many"


class ImageNameOnly(RequestError):
    """The request holds the name of a file instead of its bytes; with curl, write an @ before the name."""

    code = "image_name_only"


class ImageBytesChanged(RequestError):
    """The image was sent as text, which changes its bytes; with curl, use --data-binary instead of -d."""

    code = "image_bytes_changed"


class UploadTooSlow(RequestError):
    """The upload did not end within upload_s_max; send it again over a faster line, or a smaller image."""

    code = "upload_too_slow"
    http_status = 408


class MultipartMalformed(RequestError):
    """The multipart body cannot be read; send a complete body with the boundary that its header names."""

    code = "multipart_malformed"


class JobNotFound(RequestError):
    """No job has this id, or it was deleted when its retention was over."""

    code = "job_not_found"
    http_status = 404


class PathNotFound(RequestError):
    """Nothing is served under this path; GET / lists what is."""

    code = "path_not_found"
    http_status = 404


class MethodNotAllowed(RequestError):
    """This path does not take this method; the Allow header says which it takes."""

    code = "method_not_allowed"
    http_status = 405


class ModelNotFound(RequestError):
    """No model of this name is served here; GET /v1/models lists those that are."""

    code = "model_not_found"
    http_status = 404


class ImageTooLarge(RequestError):
    """The upload has more bytes than image_bytes_max; send a smaller or more compressed image."""

    code = "image_too_large"
    http_status = 413


class ImageTypeUnsupported(RequestError):
    """The bytes are no JPEG, PNG, WebP, GIF, TIFF or BMP image; convert the image to one of these."""

    code = "image_type_unsupported"
    http_status = 415


class ImageEncoded(ImageTypeUnsupported):
    """The image is written as base64 text; send its bytes as they are."""

    code = "image_encoded"


class ImageByUrl(ImageTypeUnsupported):
    """The request holds an address instead of an image; download the image and send its bytes."""

    code = "image_by_url"


class ImageHeaderInvalid(RequestError):
    """The image's header cannot be read; the file is damaged, export it again."""

    code = "image_header_invalid"
    http_status = 422


class ImagePixelsTooMany(RequestError):
    """The image has more pixels than image_pixels_max; scale it down."""

    code = "image_pixels_too_many"
    http_status = 422


class ImageSideTooLong(RequestError):
    """A side of the image is longer than image_side_max; scale it down."""

    code = "image_side_too_long"
    http_status = 422


class ImageSideTooShort(RequestError):
    """A side of the image is shorter than image_side_min; send a larger image."""

    code = "image_side_too_short"
    http_status = 422


class IdempotencyKeyInvalid(RequestError):
    """The Idempotency-Key is empty or longer than idempotency_key_chars_max; send a shorter one."""

    code = "idempotency_key_invalid"


class IdempotencyKeyInUse(RequestError):
    """A job with this Idempotency-Key is still running; ask for it again in a moment."""

    code = "idempotency_key_in_use"
    http_status = 409


class IdempotencyKeyReused(RequestError):
    """This Idempotency-Key came with another image or options before; use a new key for a new request."""

    code = "idempotency_key_reused"
    http_status = 422


class Overloaded(RequestError):
    """The service has as much work waiting as it accepts; try again after the time in Retry-After."""

    code = "overloaded"
    http_status = 503
    retryable = True

    def __init__(self, message: str | None = None, *, retry_after_s: int = 1) -> None:
        """`retry_after_s` is the time after which another try is worthwhile."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


# --- recorded as the job's outcome --------------------------------------------------------------------------


class JobError(BeholderError):
    """The job failed."""

    code = "job_failed"
    is_about_request = True


class ImageTruncated(JobError):
    """The image's data ends too early; send the whole file."""

    code = "image_truncated"
    http_status = 422


class ImageUndecodable(JobError):
    """The image's data is damaged and cannot be decoded; export the image again."""

    code = "image_undecodable"
    http_status = 422


class ImageSizeUnsupported(JobError):
    """The model cannot run an image of this size; send it larger, or to another model."""

    code = "image_size_unsupported"
    http_status = 422


class InferenceFailed(JobError):
    """The model gives no usable answer for this image; try another image, or another model."""

    code = "inference_failed"


class ImageGone(JobError):
    """The image is no longer in the input bucket; send it again."""

    code = "image_gone"
    http_status = 410


class JobExpired(JobError):
    """The job's deadline passed before a worker could begin it; send it again with a later one."""

    code = "job_expired"
    http_status = 410


class JobAbandoned(JobError):
    """Every attempt at this image failed or ended with its worker dying; the job is given up."""

    code = "job_abandoned"


# --- the operator must act ----------------------------------------------------------------------------------


class BackendError(BeholderError):
    """A backend failed."""

    code = "backend_error"
    http_status = 503

    def __init__(self, backend: str, operation: str, message: str | None = None) -> None:
        """The `operation` (such as 'send') of the `backend` (such as 'sqlite queue') failed."""
        self.backend = backend
        self.operation = operation
        super().__init__(f"{backend}: {operation}: {message or default_message(type(self))}")


class BackendUnavailable(BackendError):
    """The backend cannot be reached or failed for now; the same call may succeed later."""

    code = "backend_unavailable"
    retryable = True


class BackendThrottled(BackendError):
    """The backend takes fewer requests than it was sent; the same call may succeed later."""

    code = "backend_throttled"
    retryable = True


class BackendFull(BackendError):
    """There is no room left to store anything, and nothing was half-written; try again later."""

    code = "storage_full"
    retryable = True


class BackendDenied(BackendError):
    """A backend refuses the service's calls; the operator finds the reason in the log."""

    code = "backend_denied"


class ResourceNotFound(BackendDenied):
    """The account has no such resource; it was deleted, or never made."""

    code = "resource_not_found"


class QueueGone(BackendDenied):
    """The queue does not exist; it was deleted, or never made."""

    code = "queue_gone"


class QueueDamaged(BackendError):
    """The queue file is damaged; stop the service and run `beholder repair`."""

    code = "queue_damaged"


class ObjectNotFound(BackendError):
    """The store holds no object under this key."""

    code = "object_not_found"
    http_status = 404


class ObjectExists(BackendError):
    """The store already holds an object under this key."""

    code = "object_exists"
    http_status = 409


# --- the operator must act before the start -----------------------------------------------------------------


class ConfigError(BeholderError):
    """The settings cannot be used."""

    code = "config_invalid"

    def __init__(self, problems: str | Sequence[str], *, may_pass: bool = False) -> None:
        """`problems` are sentences that say what to do.

        `may_pass`: they may end without a change of the settings, such as a permission that is granted late.
        """
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        self.may_pass = may_pass
        super().__init__("; ".join(self.problems))


class ModelInvalid(ConfigError):
    """The model folder cannot be used."""

    code = "model_invalid"


def all_errors() -> list[type[BeholderError]]:
    """Return every error class of the tree, parents first."""
    found = [BeholderError]
    for error in found:
        found.extend(error.__subclasses__())
    return found
