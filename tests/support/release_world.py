"""A simulated cloud for releases: services, jobs, subscriptions and read models.

The simulation executes calls of gcloud, and rejects those that the real gcloud would reject.
"""

import copy
import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SERVICES = ("progress-query", "progress-ingest", "progress-project")
JOBS = (
    *("progress-batch", "progress-batch-large", "progress-backup", "progress-rebuild"),
    "progress-release",
)
GREEN_SUBSCRIPTION = "progress-projection-green-sub"
REPOSITORY = "europe-west1-docker.pkg.dev/progress-dev/progress"


def image(service: str, code: str) -> str:
    """Return the service's image of a version; the version is one hexadecimal digit."""
    return f"{REPOSITORY}/{service.removeprefix('progress-')}@sha256:{code * 64}"


class CallRejected(Exception):
    """The real gcloud would reject this call."""


@dataclass
class World:
    """Everything that a release changes. `revisions` maps revisions to images.

    As in Knative, a call moves traffic only if every revision in the requested traffic has started.
    The call fails if one of these revisions, or the newest revision, has not started.
    """

    address: str = ""
    requested: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    traffic: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)  # Images whose revisions do not start.
    # Whether `services describe` shows a URL for each traffic tag, such as green.
    has_addresses: bool = True
    jobs: dict[str, str] = field(default_factory=dict)
    subscriptions: dict[str, str] = field(default_factory=dict)  # Push endpoints by subscription.
    models: set[str] = field(default_factory=set)  # The versions that have read models.
    viewed: str = ""  # The version whose read models the views of analysts read.
    # The files from which each image was built.
    built: dict[str, set[str]] = field(default_factory=dict)
    objects: dict[str, str] = field(default_factory=dict)  # Contents by address in Cloud Storage.
    executions: list[tuple[str, str]] = field(default_factory=list)  # Version and command of each.

    @classmethod
    def after_first_apply(cls, address: str, code: str = "a") -> "World":
        """Return the world after Terraform's first apply: the newest revision has all traffic."""
        world = cls(
            address, models={code}, viewed=code, subscriptions={"progress-projection-sub": "main"}
        )
        for name in SERVICES:
            world.revisions[f"{name}-00001"] = image(name, code)
            world.route(name, [{"revisionName": f"{name}-00001", "percent": 100}])
        world.jobs = dict.fromkeys(JOBS, image("progress-project", code))
        return world

    def copy(self) -> "World":
        """Return a deep copy."""
        return copy.deepcopy(self)

    def route(self, service: str, targets: list[dict[str, Any]]) -> None:
        """Request this traffic; raise CallRejected if the service is not ready afterwards."""
        self.requested[service] = targets
        newest = max(revision for revision in self.revisions if revision.startswith(service))
        unready = [
            revision
            for revision in (*(target["revisionName"] for target in targets), newest)
            if self.revisions[revision] in self.broken
        ]
        if not [target for target in targets if target["revisionName"] in unready]:
            self.traffic[service] = targets
        if unready:
            raise CallRejected(f"Revision '{unready[0]}' is not ready and cannot serve traffic.")

    def share(self, service: str) -> dict[str, int]:
        """Return the traffic percentages by version."""
        shares: dict[str, int] = {}
        for target in self.traffic[service]:
            if target.get("percent"):
                code = self.revisions[target["revisionName"]][-1]
                shares[code] = shares.get(code, 0) + target["percent"]
        return shares

    def find_tagged(self, service: str, tag: str) -> str | None:
        """Return the version of the revision that has the tag, if any."""
        for target in self.traffic[service]:
            if target.get("tag") == tag:
                return self.revisions[target["revisionName"]][-1]
        return None

    def folding_codes(self) -> set[str]:
        """Return the versions that receive each wake-up and fold their own read models."""
        (served,) = self.share("progress-project")
        green = self.subscriptions.get(GREEN_SUBSCRIPTION)
        tagged = self.find_tagged("progress-project", "green") if green else None
        return {served, tagged} - {None}  # type: ignore[return-value]  # None is removed

    def find_violations(self) -> list[str]:
        """Return the violated invariants of a release."""
        violations = [
            f"{s} has {self.share(s)}" for s in SERVICES if sum(self.share(s).values()) != 100
        ]
        serving = set(self.share("progress-query"))
        violations += [
            f"{code} serves but is not folded" for code in serving - self.folding_codes()
        ]
        violations += [f"{code} serves but has no read models" for code in serving - self.models]
        if self.viewed not in self.models:
            violations.append(f"the views read {self.viewed}, which has no read models")
        return violations

    def do(self, words: list[str]) -> str:
        """Execute the call and return its output; raise CallRejected if gcloud would reject it."""
        method, arguments, flags = _parse_call(type(self), words)
        needed = {"quiet"} if method.startswith("_auth_") else {"quiet", "project"}
        needed |= {"region"} if method.startswith("_run_") else set()
        needed |= {"location"} if method.startswith("_scheduler_") else set()
        if missing := needed - flags.keys():
            raise CallRejected(f"without {missing}, gcloud would prompt or read its configuration")
        answer: object = getattr(self, method)(*arguments, flags)
        return answer if isinstance(answer, str) else json.dumps(answer)

    def _run_services_describe(self, name: str, flags: dict[str, str]) -> object:
        targets = [
            {**target, "url": f"{self.address}/{target['tag']}-{name}"}
            if target.get("tag") and self.has_addresses
            else target
            for target in self.traffic[name]
        ]
        revisions = [revision for revision in self.revisions if revision.startswith(name)]
        status = {"url": f"https://{name}.run.app", "traffic": targets}
        return {
            "spec": {"traffic": self.requested[name]},
            "status": status | {"latestCreatedRevisionName": revisions[-1]},
        }

    def _run_revisions_describe(self, name: str, flags: dict[str, str]) -> object:
        return {"spec": {"containers": [{"image": self.revisions[name]}]}}

    def _run_deploy(self, name: str, flags: dict[str, str]) -> object:
        if "no-traffic" not in flags:
            raise CallRejected("the new revision would take all traffic immediately")
        if flags.keys() & {"tag", "revision-suffix"}:
            raise CallRejected(
                "gcloud would write the revision's name into the service, so that Terraform's next "
                "change would reuse this name"
            )
        number = sum(revision.startswith(name) for revision in self.revisions) + 1
        self.revisions[f"{name}-{number:05}"] = flags["image"]
        self.route(name, self.requested[name])
        return {}

    def _run_services_update_traffic(self, name: str, flags: dict[str, str]) -> object:
        removed = filter(None, flags.get("remove-tags", "").split(","))
        added = dict(pair.split("=") for pair in flags.get("update-tags", "").split(",") if pair)
        targets = self._move_tags(name, {**dict.fromkeys(removed), **added})
        if "to-revisions" in flags:
            percents = dict(pair.split("=") for pair in flags["to-revisions"].split(","))
            if sum(map(int, percents.values())) != 100 or percents.keys() - self.revisions.keys():
                raise CallRejected(f"bad traffic {percents}")
            tags = [target for target in targets if target.get("tag")]
            targets = [{"revisionName": r, "percent": int(p)} for r, p in percents.items()] + tags
        self.route(name, targets)
        return {}

    def _move_tags(self, name: str, tags: dict[str, str | None]) -> list[dict[str, Any]]:
        """Return the requested traffic after moving tags to their revisions; None removes a tag."""
        for revision in filter(None, tags.values()):
            if revision not in self.revisions:
                raise CallRejected(f"there is no {revision}")
        kept = [target for target in self.requested[name] if target.get("tag") not in tags]
        added = [{"revisionName": r, "tag": tag} for tag, r in tags.items() if r]
        return kept + added

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
            if code not in self.models:
                raise CallRejected("the read models of this version do not exist")
            self.models = {code}
            self.viewed = code
        elif command == "migrate":
            self.models.add(code)
        elif command == "move-views":
            self.viewed = code
        elif command not in ("batch", "check"):
            raise CallRejected(f"no command {command}")
        self.executions.append((code, command))
        return {}

    def _pubsub_subscriptions_describe(self, name: str, flags: dict[str, str]) -> object:
        if name not in self.subscriptions:
            raise CallRejected(f"NOT_FOUND: Resource not found (resource={name})")
        return {"name": f"projects/p/subscriptions/{name}"}

    def _pubsub_subscriptions_create(self, name: str, flags: dict[str, str]) -> object:
        if name in self.subscriptions:
            raise CallRejected(f"{name} exists")
        expected = {
            "topic": "progress-commands",
            "push-endpoint": f"{self.address}/green-progress-project",
            # Cloud Run accepts this account's token if the audience is the service's own URL.
            "push-auth-service-account": "progress-push@p.iam.gserviceaccount.com",
            "push-auth-token-audience": "https://progress-project.run.app",
            # Green does not get operations, because the serving version runs them.
            "message-filter": 'NOT attributes.command = "operation"',
        }
        if wrong := expected.items() - flags.items():
            raise CallRejected(f"expected {wrong} in the flags of green's subscription")
        self.subscriptions[name] = flags["push-endpoint"]
        return {}

    def _pubsub_subscriptions_delete(self, name: str, flags: dict[str, str]) -> object:
        if name not in self.subscriptions:
            raise CallRejected(f"there is no {name}")
        del self.subscriptions[name]
        return {}

    def _builds_submit(self, folder: str, flags: dict[str, str]) -> object:
        files = {str(file.relative_to(folder)) for file in Path(folder).rglob("*.*")}
        name = dict(pair.split("=") for pair in flags["substitutions"].split(","))["_IMAGE"]
        self.built[name] = files
        return {"results": {"images": [{"name": name, "digest": f"sha256:{'d' * 64}"}]}}

    def _storage_cp(self, source: str, target: str, flags: dict[str, str]) -> object:
        self.objects[target] = Path(source).read_text()
        return {}

    def _auth_print_access_token(self, flags: dict[str, str]) -> str:
        return "token\n"


_COMMANDS = re.compile(r"_(run|pubsub|auth|builds|compute|scheduler|storage|sql)_[a-z_]+")


def _parse_call(world: type[World], words: list[str]) -> tuple[str, list[str], dict[str, str]]:
    """Return the method for the call, its positional arguments and its flags."""
    plain = [word for word in words if not word.startswith("--")]
    flags = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--"))
    for length in range(len(plain), 0, -1):
        name = "_" + "_".join(plain[:length]).replace("-", "_")
        if _COMMANDS.fullmatch(name) and hasattr(world, name):
            return name, plain[length:], flags
    raise CallRejected(f"no such call: {shlex.join(words)}")
