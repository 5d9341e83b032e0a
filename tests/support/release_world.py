"""The world that a release works on, in a test: services, jobs, subscriptions, read models.

It takes gcloud's calls, and refuses what the real one would refuse.
"""

import copy
import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SERVICES = ("progress-query", "progress-ingest", "progress-project")
JOBS = ("progress-batch", "progress-batch-large", "progress-backup", "progress-release")
GREEN_SUBSCRIPTION = "progress-projection-green-sub"
REPOSITORY = "europe-west1-docker.pkg.dev/progress-dev/progress"


def image(service: str, code: str) -> str:
    """What a build of this code gave for the service; the code is one hexadecimal digit."""
    return f"{REPOSITORY}/{service.removeprefix('progress-')}@sha256:{code * 64}"


class CallRejected(Exception):
    """What the real one would not do."""


@dataclass
class World:
    """Everything that a release moves. `revisions` knows each one's image.

    Traffic goes as it was asked for once all revisions that it names have started; and a call about
    it fails as long as they, or the newest one, have not. That is Knative's way, and gcloud's.
    """

    address: str = ""
    asked: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    traffic: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)  # images that do not start
    has_addresses: bool = True  # whether a tag has one
    jobs: dict[str, str] = field(default_factory=dict)
    subscriptions: dict[str, str] = field(default_factory=dict)  # where each pushes
    models: set[str] = field(default_factory=set)  # the code whose read models there are
    built: dict[str, set[str]] = field(default_factory=dict)  # from which files each image is
    executions: list[tuple[str, str]] = field(default_factory=list)  # whose, and what
    published: list[str] = field(default_factory=list)  # on which topics

    @classmethod
    def applied(cls, address: str, code: str = "a") -> "World":
        """As Terraform's first apply leaves it: the newest revision has all traffic."""
        made = cls(address, models={code}, subscriptions={"progress-projection-sub": "main"})
        for name in SERVICES:
            made.revisions[f"{name}-00001"] = image(name, code)
            made.route(name, [{"revisionName": f"{name}-00001", "percent": 100}])
        made.jobs = dict.fromkeys(JOBS, image("progress-project", code))
        return made

    def copied(self) -> "World":
        """Another that is the same."""
        return copy.deepcopy(self)

    def route(self, service: str, targets: list[dict[str, Any]]) -> None:
        """Ask for this traffic. CallRejected where the service is not ready then."""
        self.asked[service] = targets
        newest = max(each for each in self.revisions if each.startswith(service))
        unready = [
            each
            for each in (*(target["revisionName"] for target in targets), newest)
            if self.revisions[each] in self.broken
        ]
        if not [each for each in targets if each["revisionName"] in unready]:
            self.traffic[service] = targets
        if unready:
            raise CallRejected(f"Revision '{unready[0]}' is not ready and cannot serve traffic.")

    def share(self, service: str) -> dict[str, int]:
        """The percents of the revisions that get requests, by their code."""
        shares: dict[str, int] = {}
        for target in self.traffic[service]:
            if target.get("percent"):
                code = self.revisions[target["revisionName"]][-1]
                shares[code] = shares.get(code, 0) + target["percent"]
        return shares

    def tagged(self, service: str, tag: str) -> str | None:
        """The code of the revision with the tag."""
        for target in self.traffic[service]:
            if target.get("tag") == tag:
                return self.revisions[target["revisionName"]][-1]
        return None

    def folded(self) -> set[str]:
        """The code whose read models are folded by each wake-up."""
        (served,) = self.share("progress-project")
        green = self.subscriptions.get(GREEN_SUBSCRIPTION)
        tagged = self.tagged("progress-project", "green") if green else None
        return {served, tagged} - {None}  # type: ignore[return-value]  # None is taken away

    def wrong(self) -> list[str]:
        """What must never be, at any moment of a release."""
        found = [f"{s} has {self.share(s)}" for s in SERVICES if sum(self.share(s).values()) != 100]
        asked = set(self.share("progress-query"))
        found += [f"{code} is asked and not folded" for code in asked - self.folded()]
        found += [f"{code} is asked and has no read models" for code in asked - self.models]
        return found

    def do(self, words: list[str]) -> str:
        """What the call gives; CallRejected where it cannot be."""
        act, given, flags = _parsed(words)
        needed = {"quiet"} if act.startswith("_auth_") else {"quiet", "project"}
        needed |= {"region"} if act.startswith("_run_") else set()
        if missing := needed - flags.keys():
            raise CallRejected(f"without {missing} it would ask, or take what is configured")
        answer: object = getattr(self, act)(*given, flags)
        return answer if isinstance(answer, str) else json.dumps(answer)

    def _run_services_describe(self, name: str, flags: dict[str, str]) -> object:
        targets = [
            {**each, "url": f"{self.address}/{each['tag']}-{name}"}
            if each.get("tag") and self.has_addresses
            else each
            for each in self.traffic[name]
        ]
        made = [each for each in self.revisions if each.startswith(name)]
        status = {"url": f"https://{name}.run.app", "traffic": targets}
        return {
            "spec": {"traffic": self.asked[name]},
            "status": status | {"latestCreatedRevisionName": made[-1]},
        }

    def _run_revisions_describe(self, name: str, flags: dict[str, str]) -> object:
        return {"spec": {"containers": [{"image": self.revisions[name]}]}}

    def _run_deploy(self, name: str, flags: dict[str, str]) -> object:
        if "no-traffic" not in flags:
            raise CallRejected("it would take all traffic at once")
        if flags.keys() & {"tag", "revision-suffix"}:
            raise CallRejected(
                "the service would keep the revision's name, and Terraform use it again"
            )
        number = sum(each.startswith(name) for each in self.revisions) + 1
        self.revisions[f"{name}-{number:05}"] = flags["image"]
        self.route(name, self.asked[name])
        return {}

    def _run_services_update_traffic(self, name: str, flags: dict[str, str]) -> object:
        gone = filter(None, flags.get("remove-tags", "").split(","))
        given = dict(each.split("=") for each in flags.get("update-tags", "").split(",") if each)
        targets = self._tagged(name, {**dict.fromkeys(gone), **given})
        if "to-revisions" in flags:
            percents = dict(each.split("=") for each in flags["to-revisions"].split(","))
            if sum(map(int, percents.values())) != 100 or percents.keys() - self.revisions.keys():
                raise CallRejected(f"bad traffic {percents}")
            tags = [each for each in targets if each.get("tag")]
            targets = [{"revisionName": r, "percent": int(p)} for r, p in percents.items()] + tags
        self.route(name, targets)
        return {}

    def _tagged(self, name: str, tags: dict[str, str | None]) -> list[dict[str, Any]]:
        """The traffic that is asked for, but these tags elsewhere or nowhere."""
        for revision in filter(None, tags.values()):
            if revision not in self.revisions:
                raise CallRejected(f"there is no {revision}")
        kept = [each for each in self.asked[name] if each.get("tag") not in tags]
        given = [{"revisionName": r, "tag": tag} for tag, r in tags.items() if r]
        return kept + given

    def _run_jobs_update(self, name: str, flags: dict[str, str]) -> object:
        if name not in self.jobs:
            raise CallRejected(f"there is no {name}")
        self.jobs[name] = flags["image"]
        return {}

    def _run_jobs_execute(self, name: str, flags: dict[str, str]) -> object:
        if "wait" not in flags:
            raise CallRejected("nobody would know how it ended")
        code, command = self.jobs[name][-1], flags["args"]
        if command == "contract":
            if code not in self.models:
                raise CallRejected("nothing is dropped")
            self.models = {code}
        elif command == "migrate":
            self.models.add(code)
        elif command not in ("batch", "check"):
            raise CallRejected(f"no command {command}")
        self.executions.append((code, command))
        return {}

    def _pubsub_topics_publish(self, topic: str, flags: dict[str, str]) -> object:
        json.loads(flags["message"])
        self.published.append(topic)
        return {}

    def _compute_networks_peerings_delete(self, name: str, flags: dict[str, str]) -> object:
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
            # Whom Cloud Run lets in, with a token for the service: it knows no address of a tag's.
            "push-auth-service-account": "progress-push@p.iam.gserviceaccount.com",
            "push-auth-token-audience": "https://progress-project.run.app",
            # An operation is carried out by the code that is served.
            "message-filter": 'NOT attributes.command = "operation"',
        }
        if wrong := expected.items() - flags.items():
            raise CallRejected(f"expected {wrong} of a subscription of green's")
        self.subscriptions[name] = flags["push-endpoint"]
        return {}

    def _pubsub_subscriptions_delete(self, name: str, flags: dict[str, str]) -> object:
        if name not in self.subscriptions:
            raise CallRejected(f"there is no {name}")
        del self.subscriptions[name]
        return {}

    def _builds_submit(self, folder: str, flags: dict[str, str]) -> object:
        there = {str(each.relative_to(folder)) for each in Path(folder).rglob("*.*")}
        name = dict(each.split("=") for each in flags["substitutions"].split(","))["_IMAGE"]
        self.built[name] = there
        return {"results": {"images": [{"name": name, "digest": f"sha256:{'d' * 64}"}]}}

    def _auth_print_access_token(self, flags: dict[str, str]) -> str:
        return "token\n"


_COMMANDS = re.compile(r"_(run|pubsub|auth|builds|compute)_[a-z_]+")


def _parsed(words: list[str]) -> tuple[str, list[str], dict[str, str]]:
    """Who carries it out, what is named, and the flags."""
    plain = [word for word in words if not word.startswith("--")]
    flags = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--"))
    for length in range(len(plain), 0, -1):
        name = "_" + "_".join(plain[:length]).replace("-", "_")
        if _COMMANDS.fullmatch(name) and hasattr(World, name):
            return name, plain[length:], flags
    raise CallRejected(f"no such call: {shlex.join(words)}")
