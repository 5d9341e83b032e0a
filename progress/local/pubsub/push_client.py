"""The HTTP client for pushes."""

from typing import Any

import aiohttp

from progress import settings
from progress.local import data_folder, development_key

_CONNECT_TIMEOUT_S = 2.0


class ConnectionRefused(OSError):
    """No process listens at the push address; this is not counted as an attempt to deliver."""


class Endpoint:
    """The endpoint of a push subscription, with its connections.

    If the subscription names a service account, each push has a token that the stack's development
    key signs.
    """

    def __init__(self, config: Any) -> None:
        self._url: str = config.push_endpoint
        self._account: str = config.oidc_token.service_account_email
        self._audience: str = config.oidc_token.audience or self._url
        headers = {"User-Agent": "pubsub-standin", "Content-Type": "application/json"}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), headers=headers
        )

    async def push(self, body: bytes, *, seconds: float) -> int:
        """Send a push; return the status of the response.

        If no response arrives within `seconds`, return 504. If the connection ends before the
        response, send the push once more, because the server may have closed an idle connection,
        then return 502. Raise ConnectionRefused if no process listens.
        """
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT_TIMEOUT_S)
        for _ in range(2):
            try:
                async with self._session.post(
                    self._url,
                    data=body,
                    headers=self._authorize(),
                    timeout=timeout,
                    allow_redirects=False,
                ) as response:
                    await response.read()  # so that the connection can be used again
                    return response.status
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                raise ConnectionRefused(str(error)) from error
            except TimeoutError:
                return 504
            except aiohttp.ClientError:
                continue
        return 502

    def _authorize(self) -> dict[str, str]:
        if not self._account:
            return {}
        key = data_folder.at(settings.current().progress_data_dir).key
        token = development_key.push_token(key, self._account, self._audience)
        return {"Authorization": f"Bearer {token}"}

    async def close(self) -> None:
        await self._session.close()
