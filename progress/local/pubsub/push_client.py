"""The HTTP client for pushes."""

import aiohttp

_CONNECT_TIMEOUT_S = 2.0


class ConnectionRefused(OSError):
    """No process listens at the push address; this is not counted as an attempt to deliver."""


class Endpoint:
    """The endpoint of a push subscription, with its connections."""

    def __init__(self, url: str) -> None:
        self._url = url
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
                    self._url, data=body, timeout=timeout, allow_redirects=False
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

    async def close(self) -> None:
        await self._session.close()
