"""Write who reaches a streak of 30 days, of pushes: python examples/milestones.py PORT FILE"""

import base64
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import jwt

# The address of this endpoint, as the subscription names it, and the account that signs its pushes.
AUDIENCE, ACCOUNT = os.environ["AUDIENCE"], os.environ["ACCOUNT"]
# Without these variables, the tokens are Google's. The local stack signs tokens itself.
ISSUER = os.environ.get("ISSUER", "https://accounts.google.com")
KEYS = jwt.PyJWKClient(os.environ.get("KEYS_URL", "https://www.googleapis.com/oauth2/v3/certs"))
FILE = Path(sys.argv[2])


class Endpoint(BaseHTTPRequestHandler):
    """Each status but 2xx makes Pub/Sub push the message again, and later to the dead letters."""

    def do_POST(self) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            key = KEYS.get_signing_key_from_jwt(token)
            claims = jwt.decode(token, key, ["RS256"], audience=AUDIENCE, issuer=ISSUER)
        except jwt.PyJWTError:
            claims = {}
        if (claims.get("email"), claims.get("email_verified")) != (ACCOUNT, True):
            self.send_error(401)
            return
        message = json.loads(body)["message"]
        milestone = json.loads(base64.b64decode(message["data"]))
        if (milestone.get("kind"), milestone.get("value")) == ("STREAK", 30):
            event_id = message["attributes"]["ce-id"]
            if event_id not in FILE.read_text():  # a repeated message has the same id
                with FILE.open("a") as lines:
                    print(event_id, milestone["user_id"], milestone["reached_on"], file=lines)
        self.send_response(204)
        self.end_headers()


FILE.touch()
HTTPServer(("127.0.0.1", int(sys.argv[1])), Endpoint).serve_forever()
