"""What follows an attempt at a delivery, and the secrets that sign it."""

import base64
from pathlib import Path

import pytest

from beholder.errors import ConfigError
from beholder.web.webhooks.record import Webhook, WebhookRecord
from beholder.web.webhooks.schedule import PAUSES_S, Attempt, decide
from beholder.web.webhooks.signing import read_secrets

NOW_S = 1_700_000_000.0
LAST = len(PAUSES_S)


@pytest.mark.parametrize(
    ("status", "attempts", "expected"),
    [
        (200, 0, "delivered"),
        (299, LAST, "delivered"),
        (0, 0, "failed"),
        (302, 0, "failed"),
        (404, 0, "failed"),
        (410, 0, "gone"),
        (410, LAST, "gone"),
        (500, LAST - 1, "failed"),
        (500, LAST, "given_up"),
    ],
)
def test_the_status_decides(status: int, attempts: int, expected: str) -> None:
    verdict = decide(Attempt(status), attempts, NOW_S, 0.5)
    assert (verdict.result, verdict.pause_s is not None) == (expected, expected == "failed")


def test_the_pauses_grow_over_hours_and_are_spread() -> None:
    def pauses(chance: float) -> list[float]:
        return [decide(Attempt(500), one, NOW_S, chance).pause_s or 0.0 for one in range(LAST)]

    assert pauses(0.5) == list(PAUSES_S) == sorted(PAUSES_S)
    assert 24 * 3600 < sum(PAUSES_S) < 36 * 3600
    assert all(low < high for low, high in zip(pauses(0.0), pauses(1.0), strict=True))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("120", 120.0),
        ("Tue, 14 Nov 2023 22:15:20 GMT", 120.0),
        ("Tue, 14 Nov 2000 22:15:20 GMT", 5.0),
        ("1", 5.0),
        ("9" * 30, 36_000.0),
        ("soon", 5.0),
        ("-1", 5.0),
        ("", 5.0),
        ("\u0661\u0662", 5.0),
    ],
)
def test_a_receiver_may_ask_for_a_longer_pause(header: str, expected: float) -> None:
    verdict = decide(Attempt(429, retry_after=header), 0, NOW_S, 0.0, (6.25,))
    assert verdict.pause_s == pytest.approx(expected)


SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()


def test_a_file_has_secrets_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.write_text(f"# new\n{SECRET}\n\n  {SECRET}  \n")
    assert read_secrets(path) == (b"s" * 24, b"s" * 24)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# none\n",
        SECRET.removeprefix("whsec_"),
        "whsec_" + base64.b64encode(b"s" * 23).decode(),
        "whsec_" + base64.b64encode(b"s" * 65).decode(),
        "whsec_c2VjcmV0!!",
        f"{SECRET}\n" * 5,
        None,
    ],
)
def test_a_file_without_good_secrets_is_refused_and_none_is_shown(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "secrets"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_secrets(path)
    assert all(one not in caught.value.message for one in ("c2Vj", "c3Nz"))


def test_a_record_is_read_as_it_was_written_and_a_torn_one_is_none() -> None:
    webhook = Webhook("https://example.org/?a=b", ("output", "completed"), "cog", "mine", "msg_1")
    record = WebhookRecord("j", webhook, "web-0@here", NOW_S + 0.123456, NOW_S, 3)
    assert WebhookRecord.from_bytes(record.to_bytes(), "j") == record
    for torn in (b"", b"{}", b"[]", record.to_bytes()[:-9], b"[" * 100_000):
        with pytest.raises(ValueError):  # noqa: PT011 -- whatever it says
            WebhookRecord.from_bytes(torn, "j")
    with pytest.raises(ValueError, match="not the webhook of other"):
        WebhookRecord.from_bytes(record.to_bytes(), "other")
