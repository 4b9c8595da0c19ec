"""The canary: one image that is sent to a deployment's web tier and has to come back recognised."""

from importlib import resources

from beholder.api_keys import KeyScope, create_key, revoke_key
from beholder.cli.options import open_backends
from beholder.cli.remote import RemoteService
from beholder.clock import SystemClock
from beholder.deploy.waiting import Waiting
from beholder.errors import BackendUnavailable, ConfigError, DeployError

__all__ = ["CANARY", "Canary", "send_canary"]

CANARY = "canary"
"""The name of the API keys that canaries use."""

# From zero instances the first answer takes a startup; a new balancer's name takes a minute to be known.
_ANSWER_S_MAX = 900.0
# A new balancer's name takes a minute to be known.
_UNREACHABLE_S_MAX = 180.0
_KEY_S = 1800.0


def send_canary(service: RemoteService) -> str:
    """Send the image once, and return what it shows.

    Raises:
        ConfigError: The service does not answer, or refuses the key.
        RequestError: It refuses the image.
        JobError: The image cannot be recognised.
        BackendUnavailable: It gives no outcome.
    """
    photo = (resources.files("beholder.deploy") / "canary.jpg").read_bytes()
    return service.labels_of(photo, {})[0].name


class Canary:
    """Sends the image.

    Args:
        stack: The deployment's name.
        region: Its region.
        waiting: Waits and tells progress.
    """

    def __init__(self, stack: str, region: str, waiting: Waiting) -> None:
        self._flags = {"stack": stack, "region": region, "backend": "aws"}
        self._waiting = waiting

    def check(self, url: str) -> None:
        """Return once the image came back recognised; its API key lives no longer than that.

        A web tier that this machine cannot reach, because it may not or because the certificate has another
        name, proves nothing against the deployment: then it is said that no image was sent.

        Args:
            url: Of the web tier, whose instances are ready.

        Raises:
            DeployError: It did not come back.
            BackendError: The key cannot be made.
        """
        with open_backends(self._flags) as backends:
            now_s = SystemClock().now_s()
            key = create_key(
                backends.results,
                name=CANARY,
                scopes=[KeyScope.READ, KeyScope.WRITE],
                now_s=now_s,
                expires_at_s=now_s + _KEY_S,
            )
            try:
                self._send(RemoteService(url, key.text, self._waiting.pause))
            finally:
                revoke_key(backends.results, key.record.id)

    def _send(self, service: RemoteService) -> None:
        unreachable_s_max = self._waiting.now_s() + _UNREACHABLE_S_MAX
        problem = ""

        def is_over() -> bool:
            nonlocal problem
            try:
                label = send_canary(service)
            # A new address, name or key is known everywhere after a moment.
            except (ConfigError, BackendUnavailable) as exc:
                if exc.message != problem:
                    self._waiting.tell(f"not yet: {exc.message}")
                problem = exc.message
                is_unreachable = isinstance(exc.__cause__, OSError)
                if not is_unreachable or self._waiting.now_s() < unreachable_s_max:
                    return False
                self._waiting.tell(f"no image was sent: {problem}; the web tier says that it is ready")
                return True
            self._waiting.tell(f"an image came back recognised: {label}")
            return True

        if not self._waiting.until("an image comes back recognised", is_over, most_s=_ANSWER_S_MAX):
            raise DeployError(f"an image that was sent did not come back recognised: {problem}")
