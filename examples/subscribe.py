"""Print a learner's progress now and after every change: python examples/subscribe.py"""

import http.client
import json
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

SUBSCRIPTION = "subscription { progressUpdated { totalSessionsCompleted accuracyRate } }"
HEADERS = {
    "Accept": "text/event-stream",
    "Authorization": f"Bearer {os.environ['TOKEN']}",
    "Content-Type": "application/json",
}


def events(response: http.client.HTTPResponse) -> Iterator[tuple[str, str]]:
    """Yield the name and the data of each server-sent event; skip the comments between them."""
    name = ""
    for line in response:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, value


url = urlsplit(os.environ["QUERY_URL"])
secure = url.scheme == "https"
connection = (http.client.HTTPSConnection if secure else http.client.HTTPConnection)(url.netloc)
connection.request("POST", f"{url.path}/stream", json.dumps({"query": SUBSCRIPTION}), HEADERS)
response = connection.getresponse()
if response.status != http.client.OK:
    raise SystemExit(f"{response.status}: {response.read().decode()}")
for name, data in events(response):
    if name == "next":
        print(json.loads(data)["data"]["progressUpdated"], flush=True)
