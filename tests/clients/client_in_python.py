"""A client in Python that does what docs/another-language.md says: an outbox, and what sends it."""

import base64
import json
import re
import uuid
from datetime import UTC, datetime
from itertools import groupby
from math import inf
from operator import itemgetter
from typing import Any

MINUTE, UUID = 60_000, "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
SUBJECTS = ("item_id", "list_id", "session_id")


class Client:
    is_closed, most, began, newest = False, 500, None, 0

    def __init__(self, device: Any, learner: Any) -> None:
        self.device, self.learner, self.run = device, learner, str(uuid.uuid4())
        self.not_before = {"answers": 0.0, "lists": 0.0}
        self.times: dict[str, int] = {}
        self.number, self.earlier = 0, set[str]()

    def record(self, kind: str, data: Any, id_: str, at: Any) -> None:
        self.load()
        wall, tick = self.device.clocks()
        subject = next((data[name] for name in SUBJECTS if name in data), kind)
        later = max(self.newest, self.times.get(subject, 0) + 2) - wall
        wall, tick = (wall + later, tick + later) if 0 < later < MINUTE else (wall, tick)
        self.newest = self.times[subject] = wall
        if not self.began:
            self.began = (wall, tick)
        if not re.fullmatch(UUID, id_):
            id_ = str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_OID, "learner"), id_))
        at = text(ms(at) if at else wall)
        event = {"event_id": id_, "event_type": kind, "occurred_at": at, "data": data}
        since = {"run": self.run, "number": self.number, "wall": wall, "tick": tick}
        self.device.save([{"event": event, **since, "sub": self.learner}])

    def load(self) -> Any:
        entries = self.device.load()
        if not self.number:
            self.number = 1 + max((entry["number"] for entry in entries), default=0)
            self.earlier = {entry["event"]["event_id"] for entry in entries}
        return entries

    def flush(self) -> None:
        asked = self.device.clocks()[1]
        waiting = [
            entry
            for entry in self.load()
            if "reason" not in entry and asked >= self.not_before[kind_of(entry)]
        ]
        if not waiting:
            return
        status, _, answer = self.device.ask("GET", "/health")
        if status != 200 or "now" not in answer:
            return
        wall, tick = self.device.clocks()
        server = ms(answer["now"]) + (tick - asked) / 2 if tick - asked <= 5_000 else None
        self.bearer = self.device.token(False)
        waiting = [each for each in waiting if each["sub"] == self.learner and self.may_send()]
        moves = self.move_runs(waiting, server, wall, tick) if server else {}
        settled = [self.settle(entry, server, wall, tick, moves) for entry in waiting]
        self.device.save(settled)
        settled.sort(key=lambda entry: (kind_of(entry), entry["wall"], entry["tick"]))
        most = self.most
        while settled:
            batch = [each for each in settled[:most] if kind_of(each) == kind_of(settled[0])]
            while len(batch) > 1 and len(encode(batch)) > 800_000:
                batch.pop()
            settled = settled[len(batch) :]
            if asked >= self.not_before[kind_of(batch[0])] and not self.post(batch):
                return

    def may_send(self) -> bool:
        return not self.is_closed and named(self.bearer) in (None, self.learner)

    def move_runs(self, entries: Any, server: float, wall: float, tick: float) -> dict[str, float]:
        """Return by how many ms each event of the earlier runs moves, from the newest run on."""
        own = inf
        if self.began:
            own = self.began[0] + difference(server - wall, wall, tick, *self.began)
        moves, firsts, run_of = dict[str, float](), [(inf, own)], itemgetter("number", "run")
        left = [e for e in entries if "moved" not in e and e["event"]["event_id"] in self.earlier]
        for (number, _), its in groupby(sorted(left, key=run_of, reverse=True), run_of):
            walls = {entry["event"]["event_id"]: entry["wall"] for entry in its}
            latest = max(walls.values())
            first = min((time for later, time in firsts if later > number), default=inf)
            is_early = latest > min(server, first - 1)
            moved = min(server, first) - 1 - latest if is_early else 0
            moves |= dict.fromkeys(walls, moved)
            firsts.append((number, min(walls.values()) + moved))
        return moves

    def settle(self, entry: Any, server: Any, wall: float, tick: float, moves: Any) -> Any:
        if "moved" in entry or server is None:
            return {"moved": 0, **entry}
        event, is_ours, now = entry["event"], entry["run"] == self.run, server - wall
        since = (entry["wall"], entry["tick"]) if is_ours else (wall, tick)
        moved = moves.get(event["event_id"], difference(now, wall, tick, *since))
        ahead = ms(event["occurred_at"]) + moved - server
        is_made = ms(event["occurred_at"]) == entry["wall"]
        if ahead > (MINUTE if is_made else 0) and (moved or not is_ours):
            moved -= ahead
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
            is_of_kind = headers.get("progress-limit") in ("entries", "lists")
            end = self.device.clocks()[1] + 1_000 * float(headers.get("retry-after", 0))
            for kind in {kind_of(batch[0])} if is_of_kind else self.not_before:
                self.not_before[kind] = max(end, self.not_before[kind])
            return is_of_kind or (status == 413 and len(batch) == 1)
        self.device.save([{**batch[index], "reason": why} for index, why in reasons.items()])
        self.device.remove([each for index, each in enumerate(batch) if index not in reasons])
        return True


def kind_of(entry: Any) -> str:
    return "lists" if "list" in entry["event"]["event_type"].lower() else "answers"


def difference(now: float, wall: float, tick: float, was_wall: float, was_tick: float) -> float:
    """Return by how many ms the clock was wrong at `was_wall`; 0 if it may have been right."""
    gap = wall - was_wall - (tick - was_tick)
    moved = now + min(0, gap)
    was_right = gap > MINUTE and abs(now + gap) <= MINUTE
    return 0 if was_right or abs(moved) <= MINUTE else moved


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
