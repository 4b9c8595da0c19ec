"""The canary: one image that is sent to a deployment's web tier and has to come back recognised."""

from importlib import resources

from beholder.api_keys import KeyScope, create_key, revoke_key
from beholder.cli.options import open_backends
from beholder.client import Client, ServiceUnreachable, Unauthorized
from beholder.clock import SystemClock
from beholder.deploy.waiting import Waiting
from beholder.errors import BackendError, ConfigError, DeployError, OutcomeLate, Overloaded

__all__ = ["CANARY", "Canary", "send_canary"]

CANARY = "canary"
"""The name of the API keys that canaries use."""

# From zero instances the first answer takes a startup.
_ANSWER_S_MAX = 900.0
# A new balancer's name takes a minute to be known.
_UNREACHABLE_S_MAX = 180.0
_KEY_S = 1800.0
_PASSING = (BackendError, ConfigError, OutcomeLate, Overloaded, ServiceUnreachable, Unauthorized)


def send_canary(client: Client) -> str:
    """Send the image once, and return what it shows.

    Raises:
        BeholderError: The error that the service answers, or that the job ended with.
        ConfigError: The address is not that of a service of beholder.
        ServiceUnreachable: The service does not answer.
    """
    photo = (resources.files("beholder.deploy") / "canary.jpg").read_bytes()
    return client.classify(photo).labels[0].name


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

    def check(self, url: str, host_name: str) -> None:
        """Return once the image came back recognised; its API key lives no longer than that.

        A web tier that this machine cannot reach proves nothing against the deployment: then it is said that
        no image was sent.

        Args:
            url: Of the web tier, whose instances are ready.
            host_name: Of its certificate, if that is not the URL's.

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
                pause = self._waiting.pause
                with Client(url, api_key=key.text, pause=pause, host_name=host_name) as client:
                    self._send(client)
            finally:
                revoke_key(backends.results, key.record.id)

    def _send(self, client: Client) -> None:
        unreachable_s_max = self._waiting.now_s() + _UNREACHABLE_S_MAX
        problem = ""

        def is_over() -> bool:
            nonlocal problem
            try:
                label = send_canary(client)
            # A new address, name or key is known everywhere after a moment.
            except _PASSING as exc:
                if exc.message != problem:
                    self._waiting.tell(f"not yet: {exc.message}")
                problem = exc.message
                is_unreachable = isinstance(exc, ServiceUnreachable)
                if not is_unreachable or self._waiting.now_s() < unreachable_s_max:
                    return False
                self._waiting.tell(f"no image was sent: {problem}; the web tier says that it is ready")
                return True
            self._waiting.tell(f"an image came back recognised: {label}")
            return True

        if not self._waiting.until("an image comes back recognised", is_over, most_s=_ANSWER_S_MAX):
            raise DeployError(f"an image that was sent did not come back recognised: {problem}")
