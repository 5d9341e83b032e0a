"""Receive pushes from progress-events, and write who reached a streak of 30 days:

python examples/milestones.py PORT FILE

Pub/Sub signs each push with a token of the service account that the subscription names. Nobody else
can make such a token, so the endpoint may be public.
"""

import base64
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

import jwt

# The address of this endpoint, as the subscription names it, and the subscription's account.
AUDIENCE, ACCOUNT = os.environ["AUDIENCE"], os.environ["ACCOUNT"]
# Without these variables, the tokens are Google's. The local stack signs tokens itself.
ISSUER = os.environ.get("ISSUER", "https://accounts.google.com")
KEYS = jwt.PyJWKClient(os.environ.get("KEYS_URL", "https://www.googleapis.com/oauth2/v3/certs"))

port, file = int(sys.argv[1]), Path(sys.argv[2])
writing = Lock()
file.touch()


def is_signed(authorization: str) -> bool:
    """Return whether the subscription's account has signed the push, for this address."""
    token = authorization.removeprefix("Bearer ")
    try:
        key = KEYS.get_signing_key_from_jwt(token)
        claims = jwt.decode(token, key, ["RS256"], audience=AUDIENCE, issuer=ISSUER)
    except jwt.PyJWTError:
        return False
    return claims.get("email") == ACCOUNT and claims.get("email_verified") is True


def handle(message: dict[str, Any]) -> None:
    """Write the learner of a streak of 30 days, once: a repeated message has the same ce-id."""
    attributes = message["attributes"]
    if attributes["event_type"] != "MilestoneReached" or attributes["schema"] != "1":
        return
    milestone = json.loads(base64.b64decode(message["data"]))
    if (milestone["kind"], milestone["value"]) == ("STREAK", 30):
        line = f"{attributes['ce-id']} {milestone['user_id']} {milestone['reached_on']}"
        with writing:
            if line.split(maxsplit=1)[0] not in file.read_text().split():
                with file.open("a") as lines:
                    print(line, file=lines)


class Endpoint(BaseHTTPRequestHandler):
    """Each status but 2xx makes Pub/Sub push the message again, and later to the dead letters."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not is_signed(self.headers.get("Authorization", "")):
            self.send_error(401)
            return
        handle(json.loads(body)["message"])
        self.send_response(204)
        self.end_headers()


ThreadingHTTPServer(("127.0.0.1", port), Endpoint).serve_forever()
