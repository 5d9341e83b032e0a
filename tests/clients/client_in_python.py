"""A client in Python, as docs/another-language.md says it: an outbox, and what sends it."""

import base64
import json
import re
import uuid
from datetime import UTC, datetime
from typing import Any

MINUTE, UUID = 60_000, "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


class Client:
    is_closed, most, not_before, changed_at = False, 500, 0.0, 0

    def __init__(self, ask: Any, token: Any, outbox: Any, clocks: Any, learner: Any) -> None:
        self.ask, self.token, self.outbox, self.clocks = ask, token, outbox, clocks
        self.learner, self.run = learner, str(uuid.uuid4())

    def record(self, kind: str, data: Any, id_: str, at: Any) -> None:
        wall, tick = self.clocks()
        at = ms(at) if at else None
        if not re.fullmatch(UUID, id_):
            id_ = str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_OID, "learner"), id_))
        if at is None and "list" in kind.lower():
            self.changed_at = at = max(wall, min(self.changed_at + 2, wall + MINUTE))
        at = text(wall if at is None else at)
        event = {"event_id": id_, "event_type": kind, "occurred_at": at, "data": data}
        since = {"run": self.run, "wall": wall, "tick": tick}
        self.outbox.save([{"event": event, **since, "sub": self.learner}])

    def flush(self) -> None:
        waiting = [entry for entry in self.outbox.load() if "reason" not in entry]
        asked = self.clocks()[1]
        if not waiting or asked < self.not_before:
            return
        status, _, answer = self.ask("GET", "/health")
        if status != 200 or "now" not in answer:
            return
        wall, tick = self.clocks()
        server = ms(answer["now"]) + (tick - asked) / 2 if tick - asked <= 5_000 else None
        self.authorize(fresh=False)
        for entry in waiting:
            entry["sub"] = entry["sub"] or self.learner or self.sub
        settled = [self.settle(entry, server, wall, tick) for entry in self.own(waiting)]
        self.outbox.save(settled)
        settled.sort(key=lambda entry: (entry["wall"], entry["tick"]))
        most = self.most
        while settled:
            batch = settled[:most]
            while len(batch) > 1 and len(encode(batch)) > 800_000:
                batch.pop()
            settled = settled[len(batch) :] if self.deliver(batch) else []

    def authorize(self, *, fresh: bool) -> None:
        self.bearer = self.token(fresh)
        claims = self.bearer.split(".")[1:2]
        self.sub = json.loads(base64.urlsafe_b64decode(claims[0] + "=="))["sub"] if claims else None

    def own(self, entries: Any) -> Any:
        whose = {self.learner, self.sub} - {None}
        return [each for each in entries if not self.is_closed and whose <= {each["sub"]}]

    def settle(self, entry: Any, server: Any, wall: float, tick: float) -> Any:
        if "moved" in entry or server is None:
            return {"moved": 0, **entry}
        event, is_ours = entry["event"], entry["run"] == self.run
        gap = wall - entry["wall"] - (tick - entry["tick"])
        by = server - wall + gap
        if gap > MINUTE and abs(by) > MINUTE:
            by = server - wall
        by = by if is_ours and abs(by) > MINUTE else 0
        if ms(event["occurred_at"]) + by > server and (by or not is_ours):
            by = server - ms(event["occurred_at"])
        for times, name in ((event, "occurred_at"), (event["data"], "due")):
            if name in times:
                times[name] = text(ms(times[name]) + by)
        return {**entry, "moved": round(by)}

    def deliver(self, entries: Any, *, again: bool = False) -> bool:
        """Return whether the next batch may be sent."""
        if not (batch := self.own(entries)):
            return False
        status, headers, answer = self.ask("POST", "/events", self.bearer, encode(batch))
        is_ours = headers.get("progress-error") == "1" and status in (400, 413)
        refused = {each["index"]: each["reason"] for each in answer.get("refused", ())}
        is_whole = refused.keys() <= {*range(len(batch))}
        if status == 202 and is_whole and answer.get("accepted", 0) + len(refused) == len(batch):
            self.most = 500
        elif is_ours and len(batch) == 1:
            refused = {0: answer["error"]}
        elif status == 401 and not again:
            self.authorize(fresh=True)
            return self.deliver(batch, again=True)
        else:
            if is_ours or status in (408, 413):
                self.most = max(1, len(batch) // 2)
            self.not_before = self.clocks()[1] + 1_000 * float(headers.get("retry-after", 0))
            return status == 413 and len(batch) == 1
        self.outbox.save([{**batch[index], "reason": why} for index, why in refused.items()])
        self.outbox.remove([each for index, each in enumerate(batch) if index not in refused])
        return True


def encode(batch: Any) -> bytes:
    events = [entry["event"] for entry in batch]
    return json.dumps(events, ensure_ascii=False, separators=(",", ":")).encode()


def ms(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1_000)


def text(time: float) -> str:
    at = datetime.fromtimestamp(round(time) / 1_000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
