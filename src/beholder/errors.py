"""Every error of beholder, in one tree; the branch says who must act.

    BeholderError
    ├── RequestError        the caller: change the request (4xx), or come back later (429, 503)
    ├── JobError            nobody: recorded as the job's outcome
    ├── BackendError        the operator: a queue or store misbehaves
    ├── ConfigError         the person who starts the process: all problems at once
    └── DeployError         the person who deploys: a deployment cannot be made or changed

`code` never changes, and `retryable` says whether the same call may succeed later. A class's docstring is its
default message, for the reader of an answer. BadImage, NotFound and Unauthorized are groups. More are in
`web/connections/errors.py` (bytes that are no HTTP request) and `client/errors.py` (a silent service).
"""

from collections.abc import Sequence
from typing import ClassVar

__all__ = [
    "BackendError",
    "BeholderError",
    "ConfigError",
    "DeployError",
    "JobError",
    "RequestError",
    "all_errors",
]


class BeholderError(Exception):
    """Something went wrong inside beholder; its log has the reason."""

    # Not of the class alone: a client reads the code of a service that is newer than the client.
    code: str = "internal_error"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    is_about_request: ClassVar[bool] = False

    def __init_subclass__(
        cls, *, code: str | None = None, http_status: int | None = None, retryable: bool | None = None
    ) -> None:
        """Set what a class gives as its arguments; it inherits the rest."""
        for name, value in {"code": code, "http_status": http_status, "retryable": retryable}.items():
            if value is not None:
                setattr(cls, name, value)

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


class BadImage(BeholderError, code="bad_image", http_status=422):
    """The image cannot be recognised, however often it is sent."""

    @property
    def reason(self) -> str:
        """What is wrong with it: the code."""
        return self.code


class NotFound(BeholderError, code="not_found", http_status=404):
    """The service has nothing of this name."""


class Unauthorized(BeholderError, code="unauthorized", http_status=401):
    """The service refuses the API key."""


# --- the caller must act ------------------------------------------------------------------------------------


class RequestError(BeholderError, code="bad_request", http_status=400):
    """The request cannot be served as it is."""

    is_about_request = True


class BadParameter(RequestError, code="bad_parameter"):
    """A parameter of the request has a value that is not allowed."""


class EmbeddingUnsupported(RequestError, code="embedding_unsupported", http_status=422):
    """The model gives no embedding; ask for labels, or name another model."""


class LabelUnknown(RequestError, code="label_unknown"):
    """A filter names a label that the model does not have; /v1/models lists the models."""


class ParameterUnknown(RequestError, code="parameter_unknown"):
    """The request names a parameter that this path does not take."""


class ParameterRepeated(RequestError, code="parameter_repeated"):
    """The request gives a parameter more than once; give it once."""


class ImageMissing(RequestError, BadImage, code="image_missing"):
    """The request holds no image; send it as the body, or as a multipart field named myfile."""


class ImagesTooMany(RequestError, code="images_too_many"):
    """The request holds more images than this path takes; send fewer in each request."""


class ImageNameOnly(RequestError, BadImage, code="image_name_only"):
    """The request holds the name of a file instead of its bytes; with curl, write an @ before the name."""


class ImageBytesChanged(RequestError, BadImage, code="image_bytes_changed"):
    """The image was sent as text, which changes its bytes; with curl, use --data-binary instead of -d."""


class UploadTooSlow(RequestError, code="upload_too_slow", http_status=408):
    """The upload did not end within upload_s_max; send it again over a faster line, or a smaller image."""


class MultipartMalformed(RequestError, code="multipart_malformed"):
    """The multipart body cannot be read; send a complete body with the boundary that its header names."""


class KeyMissing(RequestError, Unauthorized, code="key_missing", http_status=401):
    """The request has no API key; send one as Authorization: Bearer, or as X-API-Key."""


class KeyRefused(RequestError, Unauthorized, code="key_refused", http_status=401):
    """The API key is unknown, revoked or expired; ask the operator of the service for another."""


class ScopeMissing(RequestError, Unauthorized, code="scope_missing", http_status=403):
    """The API key does not allow this request; use a key with the scope that the answer names."""

    def __init__(self, message: str | None = None, *, scope: str = "") -> None:
        """`scope` is the one that the key lacks."""
        super().__init__(message or (scope and f"the API key lacks the scope {scope}; use a key that has it"))
        self.scope = scope


class JobNotFound(RequestError, NotFound, code="job_not_found", http_status=404):
    """No job has this id, or it was deleted when its retention was over."""


class JobFinished(RequestError, code="job_finished", http_status=409):
    """The job has its outcome already, so it cannot be canceled; GET it."""


class JobNotFailed(RequestError, code="job_not_failed", http_status=409):
    """Only a job that failed or expired can be retried; GET it, or send its image again."""


class PathNotFound(RequestError, NotFound, code="path_not_found", http_status=404):
    """Nothing is served under this path; GET / lists what is."""


class MethodNotAllowed(RequestError, code="method_not_allowed", http_status=405):
    """This path does not take this method; the Allow header says which it takes."""


class ModelNotFound(RequestError, NotFound, code="model_not_found", http_status=404):
    """No model of this name is served here; GET /v1/models lists those that are."""


class ModelVersionNotFound(RequestError, NotFound, code="model_version_not_found", http_status=404):
    """The model is not served in this version; GET /v1/models names the versions that are."""


class StreamUnsupported(RequestError, code="stream_unsupported", http_status=406):
    """The service sends no event streams; leave out the Accept header, or ask for application/json."""


class ImageTooLarge(RequestError, BadImage, code="image_too_large", http_status=413):
    """The upload has more bytes than image_bytes_max; send a smaller or more compressed image."""


class ImageTypeUnsupported(RequestError, BadImage, code="image_type_unsupported", http_status=415):
    """The bytes are no JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or HEIC image; convert it to one of these."""


class ImageEncoded(ImageTypeUnsupported, code="image_encoded"):
    """The image is written as base64 text; send its bytes as they are."""


class ImageByUrl(ImageTypeUnsupported, code="image_by_url"):
    """The request holds an address instead of an image; download the image and send its bytes."""


class UrlRefused(RequestError, code="url_refused"):
    """Images come from public https addresses without credentials or a port; from http if settings say so."""


class UrlFailed(RequestError, code="url_failed", http_status=422):
    """No file could be fetched from the address; send the image itself."""


class WebhookRefused(RequestError, code="webhook_refused"):
    """Webhooks go to public https addresses without credentials or a port; to others if settings say so."""


class BucketRefused(RequestError, code="bucket_refused"):
    """The service reads images from the buckets alone that s3_inputs names; send the image itself."""


class BucketFailed(RequestError, code="bucket_failed", http_status=422):
    """There is no such object in the bucket, or the service may not read it; send the image itself."""


class UploadNotFound(RequestError, NotFound, code="upload_not_found", http_status=404):
    """No image was sent to the link of this upload, or another API key asked for it; send the image."""


class UploadTaken(RequestError, code="upload_taken", http_status=409):
    """A link takes one image, and an upload makes one job, which has its id; ask for another link."""


class UploadLinkExpired(RequestError, code="upload_link_expired", http_status=410):
    """The link of this upload is no longer good; ask for another one."""


class ImageHeaderInvalid(RequestError, BadImage, code="image_header_invalid", http_status=422):
    """The image's header cannot be read; the file is damaged, export it again."""


class ImagePixelsTooMany(RequestError, BadImage, code="image_pixels_too_many", http_status=422):
    """The image has more pixels than image_pixels_max; scale it down."""


class ImageSideTooLong(RequestError, BadImage, code="image_side_too_long", http_status=422):
    """A side of the image is longer than image_side_max; scale it down."""


class ImageSideTooShort(RequestError, BadImage, code="image_side_too_short", http_status=422):
    """A side of the image is shorter than image_side_min; send a larger image."""


class IdempotencyKeyInvalid(RequestError, code="idempotency_key_invalid"):
    """The Idempotency-Key is empty or longer than idempotency_key_chars_max; send a shorter one."""


class IdempotencyKeyInUse(RequestError, code="idempotency_key_in_use", http_status=409):
    """A job with this Idempotency-Key is still running; ask for it again in a moment."""


class IdempotencyKeyReused(RequestError, code="idempotency_key_reused", http_status=422):
    """This Idempotency-Key came with another image or options before; use a new key for a new request."""


class Overloaded(RequestError, code="overloaded", http_status=503, retryable=True):
    """The service has as much work waiting as it accepts; try again after the time in Retry-After."""

    def __init__(self, message: str | None = None, *, retry_after_s: int = 1) -> None:
        """`retry_after_s` is the time after which another try is worthwhile."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(Overloaded, code="rate_limited", http_status=429, retryable=True):
    """The caller has sent as many requests as it may in a minute; go on after the time in Retry-After."""


class OutcomeLate(RequestError, code="outcome_late", http_status=503, retryable=True):
    """The outcome did not come while the request waited; the job goes on, so fetch it or try again later."""


# --- recorded as the job's outcome --------------------------------------------------------------------------


class JobError(BeholderError, code="job_failed"):
    """The job failed."""

    is_about_request = True


class ImageTruncated(JobError, BadImage, code="image_truncated", http_status=422):
    """The image's data ends too early; send the whole file."""


class ImageUndecodable(JobError, BadImage, code="image_undecodable", http_status=422):
    """The image's data is damaged and cannot be decoded; export the image again."""


class ImageSizeUnsupported(JobError, BadImage, code="image_size_unsupported", http_status=422):
    """The model cannot run an image of this size; send it larger, or to another model."""


class InferenceFailed(JobError, code="inference_failed"):
    """The model gives no usable answer for this image; try another image, or another model."""


class ImageGone(JobError, code="image_gone", http_status=410):
    """The image is no longer in the input bucket; send it again."""


class JobExpired(JobError, code="job_expired", http_status=410):
    """The job's deadline passed before a worker could begin it; send it again with a later one."""


class JobCanceled(JobError, code="job_canceled", http_status=410):
    """The job was canceled before it had an outcome; send the image again if it is still wanted."""


class JobDeleted(JobError, code="job_deleted", http_status=410):
    """The job was deleted; send the image again, with another idempotency key if it had one."""


class JobAbandoned(JobError, code="job_abandoned"):
    """Every attempt at this image failed or ended with its worker dying; the job is given up."""


# --- the operator must act, before the start too ------------------------------------------------------------


class BackendError(BeholderError, code="backend_error", http_status=503):
    """A backend failed."""

    def __init__(self, backend: str, operation: str, message: str | None = None) -> None:
        """The `operation` (such as 'send') of the `backend` (such as 'sqlite queue') failed."""
        self.backend, self.operation = backend, operation
        super().__init__(f"{backend}: {operation}: {message or default_message(type(self))}")


class BackendUnavailable(BackendError, code="backend_unavailable", retryable=True):
    """The backend cannot be reached or failed for now; the same call may succeed later."""


class BackendThrottled(BackendError, code="backend_throttled", retryable=True):
    """The backend takes fewer requests than it was sent; the same call may succeed later."""


class BackendFull(BackendError, code="storage_full", retryable=True):
    """There is no room left to store anything, and nothing was half-written; try again later."""


class BackendDenied(BackendError, code="backend_denied"):
    """A backend refuses the service's calls; the operator finds the reason in the log."""


class ResourceNotFound(BackendDenied, code="resource_not_found"):
    """The account has no such resource; it was deleted, or never made."""


class QueueGone(BackendDenied, code="queue_gone"):
    """The queue does not exist; it was deleted, or never made."""


class QueueDamaged(BackendError, code="queue_damaged"):
    """The queue file is damaged; stop the service and run `beholder repair`."""


class ObjectNotFound(BackendError, code="object_not_found", http_status=404):
    """The store holds no object under this key."""


class ObjectExists(BackendError, code="object_exists", http_status=409):
    """The store already holds an object under this key."""


class ConfigError(BeholderError, code="config_invalid"):
    """The settings cannot be used."""

    def __init__(self, problems: str | Sequence[str], *, may_pass: bool = False) -> None:
        """`problems` say what to do; `may_pass` if they may end without a change of the settings."""
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        self.may_pass = may_pass
        super().__init__("; ".join(self.problems))


class ModelInvalid(ConfigError, code="model_invalid"):
    """The model folder cannot be used."""


class DeployError(BeholderError, code="deploy_failed"):
    """The deployment could not be made or changed."""


def all_errors() -> list[type[BeholderError]]:
    """Return every error class of the tree, parents first."""
    found = [BeholderError]
    for error in found:
        # An error that also belongs to a group follows the parent that it is listed with first.
        found.extend(child for child in error.__subclasses__() if child.__base__ is error)
    return found
