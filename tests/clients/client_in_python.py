"""A client in Python that does what docs/another-language.md says: an outbox, and what sends it."""

import base64
import json
import re
import uuid
from datetime import UTC, datetime
from typing import Any

MINUTE, UUID = 60_000, "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


class Client:
    is_closed, most, not_before, changed_at = False, 500, 0.0, 0.0

    def __init__(self, device: Any, learner: Any) -> None:
        self.device, self.learner, self.run = device, learner, str(uuid.uuid4())

    def record(self, kind: str, data: Any, id_: str, at: Any) -> None:
        wall, tick = self.device.clocks()
        if not at and "list" in kind.lower():
            self.changed_at = max(wall, min(self.changed_at + 2, wall + MINUTE))
            at = text(self.changed_at)
        if not re.fullmatch(UUID, id_):
            id_ = str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_OID, "learner"), id_))
        at = text(ms(at) if at else wall)
        event = {"event_id": id_, "event_type": kind, "occurred_at": at, "data": data}
        since = {"run": self.run, "wall": wall, "tick": tick}
        self.device.save([{"event": event, **since, "sub": self.learner}])

    def flush(self) -> None:
        waiting = [entry for entry in self.device.load() if "reason" not in entry]
        asked = self.device.clocks()[1]
        if not waiting or asked < self.not_before:
            return
        status, _, answer = self.device.ask("GET", "/health")
        if status != 200 or "now" not in answer:
            return
        wall, tick = self.device.clocks()
        server = ms(answer["now"]) + (tick - asked) / 2 if tick - asked <= 5_000 else None
        self.bearer = self.device.token(False)
        self.who = self.learner or named(self.bearer)
        own = (None, self.who) if self.may_send() else ()
        waiting = [{**entry, "sub": self.who} for entry in waiting if entry["sub"] in own]
        settled = [self.settle(entry, server, wall, tick) for entry in waiting]
        self.device.save(settled)
        settled.sort(key=lambda entry: (entry["wall"], entry["tick"]))
        most = self.most
        while settled:
            batch = settled[:most]
            while len(batch) > 1 and len(encode(batch)) > 800_000:
                batch.pop()
            settled = settled[len(batch) :] if self.post(batch) else []

    def may_send(self) -> bool:
        return not self.is_closed and named(self.bearer) in (None, self.who)

    def settle(self, entry: Any, server: Any, wall: float, tick: float) -> Any:
        if "moved" in entry or server is None:
            return {"moved": 0, **entry}
        event, is_ours, now = entry["event"], entry["run"] == self.run, server - wall
        gap = wall - entry["wall"] - (tick - entry["tick"])
        moved = now + gap if gap <= MINUTE else now
        if not is_ours or min(abs(now + gap), abs(moved)) <= MINUTE:
            moved = 0
        latest = server - ms(event["occurred_at"])
        if moved > latest and (moved or not is_ours):
            moved = latest
        for times, name in ((event, "occurred_at"), (event["data"], "due")):
            if name in times:
                times[name] = text(ms(times[name]) + moved)
        return {**entry, "moved": round(moved)}

    def post(self, batch: Any, *, again: bool = False) -> bool:
        if not self.may_send():
            return False
        status, headers, answer = self.device.ask("POST", "/events", self.bearer, encode(batch))
        if status == 401 and not again:
            self.bearer = self.device.token(True)
            return self.post(batch, again=True)
        is_ours = headers.get("progress-error") == "1"
        reasons = {each["index"]: each["reason"] for each in answer.get("refused", ())}
        is_whole = answer.get("accepted", 0) + len(reasons) == len(batch)
        if status == 202 and is_whole and reasons.keys() <= {*range(len(batch))}:
            self.most = 500
        elif status in (400, 413) and is_ours and len(batch) == 1:
            reasons = {0: answer["error"]}
        else:
            if status in (408, 413) or (status == 400 and is_ours):
                self.most = max(1, len(batch) // 2)
            self.not_before = self.device.clocks()[1] + 1_000 * float(headers.get("retry-after", 0))
            return status == 413 and len(batch) == 1
        self.device.save([{**batch[index], "reason": why} for index, why in reasons.items()])
        self.device.remove([each for index, each in enumerate(batch) if index not in reasons])
        return True


def named(token: str) -> Any:
    claims = token.split(".")[1:2]
    return json.loads(base64.urlsafe_b64decode(claims[0] + "=="))["sub"] if claims else None


def encode(batch: Any) -> bytes:
    events = [entry["event"] for entry in batch]
    return json.dumps(events, ensure_ascii=False, separators=(",", ":")).encode()


def ms(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1_000)


def text(time: float) -> str:
    at = datetime.fromtimestamp(round(time) / 1_000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
