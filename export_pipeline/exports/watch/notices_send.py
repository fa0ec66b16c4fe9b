"""Sends notices: a log line each and, where WEBHOOK_URL is set, a signed POST.

The body is JSON: `id`, `kind`, `at`, `text`, `detail`. Three headers come with it:

- `Export-Pipeline-Notice`: the notice's id; the same at every attempt, so that a receiver can tell repeats.
- `Export-Pipeline-Timestamp`: seconds since 1970 when it was signed; a receiver refuses old ones.
- `Export-Pipeline-Signature`: `sha256=` and the hexadecimal HMAC-SHA256, keyed with WEBHOOK_SECRET, of the timestamp, a
  full stop and the body's bytes.

Any status from 200 to 299 counts as received; anything else, a redirect too, is tried again with growing pauses for
three days; so is a notice whose answer has not come within ten seconds. The address obeys the rules of endpoints
(`addresses`): none that the name resolves to may be private unless ALLOW_PRIVATE_ENDPOINTS says so, and
those are the ones that are connected to. No proxy is used.
"""

import hashlib
import hmac
import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from export_pipeline.errors import SettingsError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.watch.notices import Notice, due_notices, mark_failed, mark_sent
from export_pipeline.guarded import BlockedAddressError, GuardedConnection
from export_pipeline.runs.times import SECOND, instant
from export_pipeline.settings import PREFIX, Settings

ID_HEADER = "Export-Pipeline-Notice"
TIMESTAMP_HEADER = "Export-Pipeline-Timestamp"
SIGNATURE_HEADER = "Export-Pipeline-Signature"

ANSWER_SECONDS = 10.0
GIVE_UP_MICROSECONDS = 3 * 24 * 3600 * SECOND
_FIRST_PAUSE, _LONGEST_PAUSE = 30.0, 3600.0
_AT_ONCE = 50


class NotDeliveredError(Exception):
    """The receiver did not take a notice; `str` says why, without the address's path, which may hold a secret."""


@dataclass(frozen=True)
class Webhook:
    """Where notices are posted to, and the key that they are signed with."""

    scheme: str
    host: str
    port: int
    target: str
    key: bytes
    allow_private: bool

    @classmethod
    def from_settings(cls, settings: Settings) -> "Webhook | None":
        """None where no address is set; raises `SettingsError` where it cannot be one, or the key is missing."""
        if settings.webhook_url is None:
            return None
        if settings.webhook_secret is None:
            raise SettingsError(
                f"{PREFIX}WEBHOOK_URL needs {PREFIX}WEBHOOK_SECRET, the key that notices are signed with"
            )
        url = settings.webhook_url.get_secret_value()
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, parts, port = None, urlsplit(""), None
        plain = url.isascii() and url.isprintable() and not set(url) & set(' \\"<>')
        if not host or not plain or parts.scheme not in {"http", "https"} or "@" in parts.netloc or parts.fragment:
            raise SettingsError(
                f"{PREFIX}WEBHOOK_URL must look like https://host/path, without a user name and without a fragment"
            )
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        key = settings.webhook_secret.get_secret_value().encode()
        default = 443 if parts.scheme == "https" else 80
        return cls(parts.scheme, host, port or default, target, key, settings.private_endpoints)

    def __repr__(self) -> str:
        return f"Webhook({self.scheme}://{self.host}:{self.port}/…)"


def send_due(
    control: ControlDatabase,
    webhook: Webhook | None,
    *,
    log: Callable[[str], None],
    seconds: float = 20.0,
) -> tuple[int, str | None]:
    """Sends what is due, for about so many seconds; how many were sent, and why the last one was not.

    Each notice is one line in `log`, at its first attempt. The first one that is not taken ends the round. Sent at
    least once: where the receiver has taken one and the control database cannot say so, it comes again.
    """
    end, sent = time.monotonic() + seconds, 0
    for notice in due_notices(control, limit=_AT_ONCE, oldest=control.now() - GIVE_UP_MICROSECONDS):
        if time.monotonic() > end:
            break
        if not notice.attempts:
            log(f"{notice.kind}: {notice.text}")
        try:
            if webhook is not None:
                post(webhook, notice)
        except NotDeliveredError as error:
            mark_failed(control, notice, pause=min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**notice.attempts))
            return sent, str(error)
        mark_sent(control, notice)
        sent += 1
    return sent, None


def body_of(notice: Notice) -> bytes:
    """The JSON that is posted."""
    at = instant(notice.created_at).isoformat(timespec="microseconds")
    content = {"id": str(notice.id), "kind": notice.kind, "at": at, "text": notice.text, "detail": dict(notice.detail)}
    return json.dumps(content, ensure_ascii=False, sort_keys=True).encode("utf-8", "replace")


def signature(key: bytes, *, timestamp: str, body: bytes) -> str:
    """The value of the signature's header."""
    return "sha256=" + hmac.new(key, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def post(webhook: Webhook, notice: Notice) -> None:
    """Posts one notice; raises `NotDeliveredError` where it was not taken."""
    body, timestamp = body_of(notice), str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "export-pipeline",
        ID_HEADER: str(notice.id),
        TIMESTAMP_HEADER: timestamp,
        SIGNATURE_HEADER: signature(webhook.key, timestamp=timestamp, body=body),
    }
    transaction = GuardedConnection(
        webhook.scheme, webhook.host, webhook.port, allow_private=webhook.allow_private, seconds=ANSWER_SECONDS
    )
    try:
        transaction.request("POST", webhook.target, body=body, headers=headers)
        status = transaction.getresponse().status  # of the body nothing is read
        if transaction.is_late:
            raise TimeoutError  # headers that break off count as whole ones there
    except BlockedAddressError as error:
        raise NotDeliveredError(f"{PREFIX}WEBHOOK_URL leads to {error}") from None
    except (OSError, http.client.HTTPException) as error:
        cause = "no answer in time" if transaction.is_late else _cause(error)
        raise NotDeliveredError(f"{webhook.host} does not take notices: {cause}") from None
    finally:
        transaction.close()
    if not 200 <= status < 300:
        raise NotDeliveredError(f"{webhook.host} answers notices with status {status}")


def _cause(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
