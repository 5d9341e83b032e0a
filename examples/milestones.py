"""Tell a chat who reaches a streak: python examples/milestones.py PORT"""

import json
import os
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

WEBHOOK, CHAT_URL = Webhook(os.environ["WEBHOOK_SECRET"]), os.environ["CHAT_URL"]


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            event = WEBHOOK.verify(body, dict(self.headers))
            if event["data"].get("kind") == "STREAK":
                reached = "{user_id}: a streak of {value} days".format(**event["data"])
                text, kind = {"text": reached}, {"Content-Type": "application/json"}
                post = urllib.request.Request(CHAT_URL, json.dumps(text).encode(), kind)
                urllib.request.urlopen(post, timeout=5)
            self.send_response(204)
        except (WebhookVerificationError, OSError):
            self.send_response(503)  # then Progress posts the message again
        self.end_headers()


HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
