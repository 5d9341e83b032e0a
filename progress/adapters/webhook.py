"""Messages that are posted to WEBHOOK_URL, signed as Standard Webhooks 1.0 says."""

import hmac
import os
import time
from base64 import b64encode
from urllib.parse import urlsplit

import aiohttp

from progress.adapters.pubsub import loopback
from progress.errors import WebhookUnavailable
from progress.settings import Settings

TIMEOUT_S = 10.0  # until the end of the answer's head


def open_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(TIMEOUT_S, ceil_threshold=TIMEOUT_S),
        connector=aiohttp.TCPConnector(keepalive_timeout=loopback.IDLE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def post(
    session: aiohttp.ClientSession, message_id: str, body: bytes, settings: Settings
) -> None:
    """Post a structured CloudEvent; raise WebhookUnavailable without an answer of 2xx in time.

    The message of the error names only the host, because the rest of the URL may be secret.
    """
    url = settings.webhook_url or ""
    headers = _sign(message_id, body, settings.webhook_keys())
    try:
        answer = await session.post(url, data=body, headers=headers, allow_redirects=False)
        answer.release()  # the connection ends if the body has not arrived
        found = f"status {answer.status}" if not 200 <= answer.status < 300 else ""
    except TimeoutError:
        found = f"no answer within {TIMEOUT_S:g} s"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        number = getattr(error, "errno", None) or 0  # its text may name the address
        found = os.strerror(number) if number > 0 else type(error).__name__
    if found:
        raise WebhookUnavailable(f"{urlsplit(url).hostname}: {found}")


def _sign(message_id: str, body: bytes, keys: list[bytes]) -> dict[str, str]:
    at = f"{int(time.time())}"
    signed = f"{message_id}.{at}.".encode() + body
    signatures = [b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys]
    return {
        "Content-Type": "application/cloudevents+json",
        "webhook-id": message_id,
        "webhook-timestamp": at,
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }
