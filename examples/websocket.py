"""Follow a learner's streak live, over a WebSocket: python examples/websocket.py"""

import asyncio
import os

from gql import Client, gql
from gql.transport.websockets import WebsocketsTransport

SUBSCRIPTION = gql("subscription { streakUpdated { current activeToday } }")


async def print_streaks() -> None:
    """Follow the streak until the server or the user ends the connection."""
    transport = WebsocketsTransport(
        url=os.environ["QUERY_URL"].replace("http", "ws", 1),
        # A browser cannot set headers of a WebSocket, so the token is part of the first message.
        init_payload={"authorization": f"Bearer {os.environ['TOKEN']}"},
        subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
    )
    async with Client(transport=transport) as session:
        async for result in session.subscribe(SUBSCRIPTION):
            print(result["streakUpdated"], flush=True)


asyncio.run(print_streaks())
