"""Tell a chat who reaches a milestone: python examples/milestones.py PORT"""

import json
import os
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks import Webhook, WebhookVerificationError


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            event = Webhook(os.environ["WEBHOOK_SECRET"]).verify(body, dict(self.headers))
            if event["type"] == "MilestoneReached":
                user, *reached = (
                    event["data"][key] for key in ("user_id", "kind", "value", "level")
                )
                text = json.dumps({"text": f"{user}: {' '.join(str(r) for r in reached if r)}"})
                kind = {"Content-Type": "application/json"}
                chat = urllib.request.Request(os.environ["CHAT_URL"], text.encode(), kind)
                urllib.request.urlopen(chat, timeout=5)
            self.send_response(204)
        except (WebhookVerificationError, OSError):
            self.send_response(503)  # then Progress posts the message again
        self.end_headers()


HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
