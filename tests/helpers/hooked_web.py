"""A web process with webhooks, in this process and with the rig's workers."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from beholder.store.keys import WEBHOOKS
from beholder.telemetry.metrics import Telemetry
from beholder.web.app import build_app
from beholder.web.limits import WebLimits
from beholder.web.ports import WebPorts
from beholder.web.webhooks.ports import WebhookPorts
from beholder.web.webhooks.sender import WebhookSender, webhook_policy
from beholder.web.webhooks.signing import read_secrets
from helpers.images import jpeg
from helpers.receiver import SECRET, WAIT_S
from helpers.web_process import ASYNC, LIMITS, Web

__all__ = ["AT_ONCE", "IMAGE", "JSON", "OLD_SECRET", "SCHEMES", "HookedWeb", "hooked_web"]

OLD_SECRET = "whsec_b2xkIHNlY3JldCBvZiB0aGUgbGFzdCB5ZWFyLCBzdGlsbCBrbm93bg=="  # noqa: S105 -- of tests
AT_ONCE = (0.0,) * 7
SCHEMES = frozenset({"http", "https"})
HERE = webhook_policy(SCHEMES, ("127.0.0.0/8",))
IMAGE = "data:image/jpeg;base64," + base64.b64encode(jpeg(1)).decode()
JSON = {"content_type": "application/json"}


class HookedWeb(Web):
    """A web process with webhooks, which may go to this machine, and whose pauses are short."""

    def __init__(
        self, folder: Path, *, policy: Any = HERE, attempt_s_max: float = WAIT_S, **more: Any
    ) -> None:
        secrets = folder / "secrets"
        secrets.write_text(f"# the first is new\n{SECRET}\n\n{OLD_SECRET}\n")
        sender = WebhookSender(policy, attempt_s_max=attempt_s_max)
        webhooks = WebhookPorts(sender.check, sender.post, read_secrets(secrets), "web-0")
        self._webhooks = replace(webhooks, **{"pauses_s": AT_ONCE} | more)
        super().__init__(folder)
        # Receivers refuse signatures of another time.
        self.clock.advance(time.time() - self.clock.now_s())

    def ports(self, limits: WebLimits = LIMITS) -> WebPorts:
        return replace(super().ports(limits), webhooks=self._webhooks)

    def submit(self, url: str, image: bytes | None = None) -> str:
        """Have a job accepted that no request waits for; return its id."""
        answer = self.ask("POST", f"/v1/classify?webhook={url}", image or jpeg(1), **ASYNC)
        assert answer.status == 202, answer.body
        return str(answer.json["id"])

    def predict(self, **more: Any) -> str:
        """Have a job accepted as Cog's clients do; return its id."""
        body = json.dumps({"input": {"image": IMAGE}} | more).encode()
        answer = self.ask("POST", "/predictions", body, **JSON, **ASYNC)
        assert answer.status == 202, answer.body
        return answer.headers["x-job-id"]

    def on(self, other: "HookedWeb") -> "HookedWeb":
        """Work on the buckets of another process, whose replies do not come here."""
        self.images, self.results, self.clock = other.images, other.results, other.clock
        self.telemetry = Telemetry()
        self.app = build_app(self.ports())
        return self

    def await_no_record(self) -> None:
        """Wait until every webhook is delivered or given up."""
        until_s = time.monotonic() + WAIT_S
        while any(self.results.list(WEBHOOKS)):
            assert time.monotonic() < until_s
            time.sleep(0.01)

    def attempts(self, result: str) -> float:
        return self.count("beholder_webhook_attempts_total", result=result)


@contextmanager
def hooked_web(folder: Path, **more: Any) -> Iterator[HookedWeb]:
    with HookedWeb(folder, **more) as one:
        yield one
