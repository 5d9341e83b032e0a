"""A simulated cloud for releases: services, jobs and read models.

The simulation executes calls of gcloud, and rejects those that the real gcloud would reject.
"""

import copy
import json
import re
import shlex
from dataclasses import dataclass, field
from typing import Any

SERVICES = ("progress-project", "progress-ingest", "progress-query")
JOBS = ("progress-batch", "progress-release")
REPOSITORY = "europe-west1-docker.pkg.dev/progress-dev/progress"


def image(code: str) -> str:
    return f"{REPOSITORY}/progress@sha256:{code * 64}"


class CallRejected(Exception):
    """The real gcloud would reject this call."""


@dataclass
class World:
    """Everything that a release changes. `revisions` maps revisions to images.

    As in Knative, a call that moves traffic takes effect, but fails, if the newest revision of the
    service does not start.
    """

    address: str = ""
    traffic: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)  # The revisions that do not start.
    jobs: dict[str, str] = field(default_factory=dict)  # Images by job.
    models: set[str] = field(default_factory=set)  # The versions whose read models exist.
    viewed: str = ""  # The version whose read models the views of analysts read.
    executions: list[tuple[str, str]] = field(default_factory=list)  # Version and command of each.

    @classmethod
    def after_first_apply(cls, address: str, code: str = "a") -> "World":
        """Return the world after Terraform's first apply: the newest revision has all traffic."""
        world = cls(address, models={code}, viewed=code)
        for name in SERVICES:
            world.revisions[f"{name}-00001"] = image(code)
            world.traffic[name] = [{"revisionName": f"{name}-00001", "percent": 100}]
        world.jobs = dict.fromkeys(JOBS, image(code))
        return world

    def copy(self) -> "World":
        return copy.deepcopy(self)

    def share(self, service: str) -> dict[str, int]:
        shares: dict[str, int] = {}
        for target in self.traffic[service]:
            if target.get("percent"):
                code = self.revisions[target["revisionName"]][-1]
                shares[code] = shares.get(code, 0) + target["percent"]
        return shares

    def find_tagged(self, service: str, tag: str) -> str | None:
        tagged = (t["revisionName"] for t in self.traffic[service] if t.get("tag") == tag)
        return next(tagged, None)

    def find_violations(self) -> list[str]:
        """Return what is wrong for those who ask."""
        violations = [
            f"{s} has {self.share(s)}" for s in SERVICES if sum(self.share(s).values()) != 100
        ]
        read = {*self.share("progress-query")}
        lost = {*read, self.viewed} - self.models
        return violations + [f"{code} has no read models" for code in lost]

    def do(self, words: list[str]) -> str:
        """Execute the call and return its output; raise CallRejected if gcloud would reject it."""
        method, arguments, flags = _parse_call(type(self), words)
        needed = {"quiet"} if method.startswith("_auth_") else {"quiet", "project", "region"}
        if missing := needed - flags.keys():
            raise CallRejected(f"without {missing}, gcloud would prompt or read its configuration")
        answer: object = getattr(self, method)(*arguments, flags)
        return answer if isinstance(answer, str) else json.dumps(answer)

    def _builds_submit(self, source: str, flags: dict[str, str]) -> object:
        if missing := {"config", "gcs-source-staging-dir"} - flags.keys():
            raise CallRejected(
                f"without {missing}, gcloud looks for a Dockerfile, or makes a bucket"
            )
        name, _, digest = image("b").partition("@")
        return {"results": {"images": [{"name": f"{name}:latest", "digest": digest}]}}

    def _run_services_describe(self, name: str, flags: dict[str, str]) -> object:
        targets = [
            {**target, "url": f"{self.address}/{target['tag']}-{name}"}
            if target.get("tag")
            else target
            for target in self.traffic[name]
        ]
        newest = self._list_revisions(name)[-1]
        status = {"url": f"https://{name}.run.app", "traffic": targets}
        return {"status": status | {"latestCreatedRevisionName": newest}}

    def _run_revisions_describe(self, name: str, flags: dict[str, str]) -> object:
        digest = self.revisions[name]
        named = f"{REPOSITORY}/progress:latest" if name.endswith("-00001") else digest
        return {"spec": {"containers": [{"image": named}]}, "status": {"imageDigest": digest}}

    def _run_deploy(self, name: str, flags: dict[str, str]) -> object:
        if "no-traffic" not in flags:
            raise CallRejected("the new revision would take all traffic immediately")
        if flags.keys() & {"tag", "revision-suffix"}:
            raise CallRejected(
                "gcloud would write the revision's name into the service, so that Terraform's next "
                "change would reuse this name"
            )
        number = len(self._list_revisions(name)) + 1
        self.revisions[f"{name}-{number:05}"] = flags["image"]
        return self._await_newest(name)

    def _run_services_update_traffic(self, name: str, flags: dict[str, str]) -> object:
        added, percents = _parse_pairs(flags, "update-tags"), _parse_pairs(flags, "to-tags")
        if missing := {*added.values()} - self.revisions.keys():
            raise CallRejected(f"there is no {missing}")
        removed = {*added, flags.get("remove-tags", "")}
        targets = [target for target in self.traffic[name] if target.get("tag") not in removed]
        targets += [{"revisionName": revision, "tag": tag} for tag, revision in added.items()]
        if percents:
            revisions = {t["tag"]: t["revisionName"] for t in targets if "tag" in t}
            if percents.keys() - revisions or sum(map(int, percents.values())) != 100:
                raise CallRejected(f"bad traffic {percents} among {revisions}")
            shares = [
                {"revisionName": revisions[tag], "percent": int(p)} for tag, p in percents.items()
            ]
            targets = shares + [target for target in targets if "tag" in target]
        self.traffic[name] = targets
        return self._await_newest(name)

    def _await_newest(self, service: str) -> object:
        newest = self._list_revisions(service)[-1]
        if newest in self.broken:
            raise CallRejected(f"Revision '{newest}' is not ready and cannot serve traffic.")
        return {}

    def _run_jobs_list(self, flags: dict[str, str]) -> object:
        return [{"metadata": {"name": name}} for name in (*self.jobs, "of-another-program")]

    def _run_jobs_update(self, name: str, flags: dict[str, str]) -> object:
        if name not in self.jobs:
            raise CallRejected(f"there is no {name}")
        self.jobs[name] = flags["image"]
        return {}

    def _run_jobs_execute(self, name: str, flags: dict[str, str]) -> object:
        if "wait" not in flags:
            raise CallRejected("without --wait the outcome of the job would be unknown")
        code, command = self.jobs[name][-1], flags["args"]
        if command == "prune-schemas":
            self.models &= {code, self.viewed, *self.share("progress-query")}
        elif command == "migrate":
            self.models.add(code)
        elif command == "move-views":
            self.viewed = code
        elif command != "batch":
            raise CallRejected(f"no command {command}")
        self.executions.append((code, command))
        return {}

    def _auth_print_access_token(self, flags: dict[str, str]) -> str:
        return "token\n"

    def _list_revisions(self, service: str) -> list[str]:
        return [revision for revision in self.revisions if revision.startswith(service)]


_COMMANDS = re.compile(r"_(run|auth|builds)_[a-z_]+")


def _parse_pairs(flags: dict[str, str], name: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in flags.get(name, "").split(",") if pair)


def _parse_call(world: type[World], words: list[str]) -> tuple[str, list[str], dict[str, str]]:
    """Return the method for the call, its positional arguments and its flags."""
    plain = [word for word in words if not word.startswith("--")]
    flags = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--"))
    for length in range(len(plain), 0, -1):
        name = "_" + "_".join(plain[:length]).replace("-", "_")
        if _COMMANDS.fullmatch(name) and hasattr(world, name):
            return name, plain[length:], flags
    raise CallRejected(f"no such call: {shlex.join(words)}")
