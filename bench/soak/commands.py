"""Operations that an administrator starts one after another during the soak."""

import http.client
import itertools
import json
import random
import uuid
from collections import Counter

from bench.local_stack import LocalStack
from bench.soak.background import Background
from bench.soak.events import Source, name_leaver
from bench.soak.plan import SoakPlan
from progress.local.ports import HOST

_INTERVAL_S = 15.0
_TIMEOUT_S = 30.0
_ADMIN = "admin"


class Commands(Background):
    """A thread that starts operations; `erased` has the learners whose erasure was accepted."""

    def __init__(self, local: LocalStack, plan: SoakPlan, source: Source, port: int) -> None:
        super().__init__("commands")
        self.erased: list[str] = []
        self.started: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self._stack, self._source, self._port = local, source, port
        self._learners, self._chance = plan.learners, random.Random(plan.seed)

    def _run(self) -> None:
        for start in itertools.cycle((self._export, self._run_batch, self._rebuild, self._erase)):
            if self._stop.wait(_INTERVAL_S):
                return
            start()

    def _export(self) -> None:
        learner = f"soak-{self._chance.randrange(self._learners)}"
        self._send("exportUser", f'userId: "{learner}", ')

    def _run_batch(self) -> None:
        self._send("runBatch")

    def _rebuild(self) -> None:
        self._send("rebuildProjections")

    def _erase(self) -> None:
        """Erase `leaver`, whose events still arrive for a while; then choose the next leaver."""
        leaver = self._source.leaver
        if self._send("eraseUser", f'userId: "{leaver}", '):
            self.erased.append(leaver)
            self._source.leaver = name_leaver(len(self.erased))

    def _send(self, field: str, arguments: str = "") -> bool:
        """Start an operation; return whether it was accepted."""
        query = f'mutation {{ {field}({arguments}idempotencyKey: "{uuid.uuid4()}") {{ id }} }}'
        token = self._stack.token(_ADMIN, "admin")
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        client = http.client.HTTPConnection(HOST, self._port, timeout=_TIMEOUT_S)
        try:
            client.request("POST", "/graphql", json.dumps({"query": query}).encode(), headers)
            response = json.loads(client.getresponse().read())
        except (OSError, http.client.HTTPException, json.JSONDecodeError):
            response = {"errors": [{"extensions": {"code": "no response"}}]}
        finally:
            client.close()
        if errors := response.get("errors"):
            self.rejected[f"{field}: {errors[0].get('extensions', {}).get('code')}"] += 1
            return False
        self.started[field] += 1
        return True
