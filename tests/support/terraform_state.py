"""Terraform's plans and states, as mappings from addresses to resources."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support import tls_certificates

Values = dict[str, Any]


class Resources(Mapping[str, Values]):
    """The known values of each resource, by address.

    `passwords` maps secret ids to passwords. A state does not contain these passwords.
    """

    def __init__(self, resources: list[Values], passwords: Mapping[str, str] | None = None) -> None:
        self._by_address = {resource["address"]: resource for resource in resources}
        self.passwords = passwords or {}

    def __getitem__(self, address: str) -> Values:
        values: Values = self._by_address[address]["values"]
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_address)

    def __len__(self) -> int:
        return len(self._by_address)

    def kind(self, address: str) -> str:
        kind: str = self._by_address[address]["type"]
        return kind

    def of(self, kind: str, name: str | None = None) -> dict[str, Values]:
        """Return the resources of a type (and of a name, if given), by key.

        The key of a resource is its index key, or else its name. If several resources have the same
        key, the first is listed by this key, the others by their addresses.
        """
        resources: dict[str, Values] = {}
        for address, resource in self._by_address.items():
            is_match = resource["type"] == kind and resource["mode"] == "managed"
            if is_match and name in {None, resource["name"]}:
                key = str(resource.get("index", resource["name"]))
                resources[address if key in resources else key] = resource["values"]
        return resources

    def one(self, kind: str, name: str | None = None) -> Values:
        (resource,) = self.of(kind, name).values()
        return resource


@dataclass(frozen=True)
class Deployment:
    """An environment's plan for an empty project, its state after apply, and a second plan."""

    plan: Values
    state: Values
    second_plan: str  # Empty if the plan has no changes.
    passwords: dict[str, str]  # Keyed by the secret's id.

    @property
    def applied(self) -> Resources:
        resources = [
            resource for block in self.state["resources"] for resource in _list_instances(block)
        ]
        return Resources(resources, self.passwords)

    @property
    def outputs(self) -> Values:
        return {name: output["value"] for name, output in self.state["outputs"].items()}


def list_provider_calls(project: Values) -> list[tuple[str, str]]:
    """Return what the provider calls after it has made a project: the API and the request.

    If a call fails, which is common in a project so new, Terraform marks the project as tainted.
    """
    if project["auto_create_network"]:
        return []
    return [("serviceusage", "enable compute"), ("compute", "delete the network default")]


def find_attributes(state: Values, kind: str) -> Iterator[Values]:
    for block in state["resources"]:
        if block["type"] == kind and block["mode"] == "managed":
            yield from (instance["attributes"] for instance in block["instances"])


def _list_instances(block: Values) -> Iterator[Values]:
    data = "data." if block["mode"] == "data" else ""
    address = f"{data}{block['type']}.{block['name']}"
    for instance in block["instances"]:
        index = {"index": instance["index_key"]} if "index_key" in instance else {}
        suffix = f"[{json.dumps(instance['index_key'])}]" if index else ""
        values = {"address": address + suffix, "values": instance["attributes"]}
        yield {**block, **index, **values}


def make_state(plan: Values) -> Values:
    """Return a state with the values that Google would assign to the planned resources.

    The offline provider does not suffice, because it would assign the same values to all resources.
    """
    return to_state(
        {**resource, "values": resource["values"] | assigned}
        for resource, assigned in assign_values(plan)
    )


def assign_values(plan: Values) -> Iterator[tuple[Values, Values]]:
    for resource in plan["planned_values"]["root_module"]["resources"]:
        if assigned := _assigned(_project(plan, resource["values"]), resource):
            yield resource, assigned


def to_state(resources: Iterable[Values]) -> Values:
    blocks = [
        {
            **{key: resource[key] for key in ("mode", "type", "name")},
            "provider": 'provider["registry.terraform.io/hashicorp/google"]',
            "instances": [
                {
                    **({"index_key": resource["index"]} if "index" in resource else {}),
                    "schema_version": 0,
                    "attributes": resource["values"],
                }
            ],
        }
        for resource in resources
    ]
    return {"version": 4, "serial": 1, "lineage": "tests", "outputs": {}, "resources": blocks}


def _project(plan: Values, values: Values) -> str:
    default = plan["variables"].get("project_id", {"value": ""})
    project: str = values.get("project") or default["value"]
    return project


def _assigned(project: str, resource: Values) -> Values:
    values = resource["values"]
    match resource["type"]:  # the name is also the id, except in those that return
        case "google_service_account":
            email = f"{values['account_id']}@{project}.iam.gserviceaccount.com"
            name = f"projects/{project}/serviceAccounts/{email}"
            assigned = {"email": email, "member": f"serviceAccount:{email}", "name": name}
        case "google_secret_manager_secret":
            assigned = {"name": f"projects/{project}/secrets/{values['secret_id']}"}
        case "google_iam_workload_identity_pool":
            pool = values["workload_identity_pool_id"]
            assigned = {"name": f"projects/{project}/locations/global/workloadIdentityPools/{pool}"}
        case "google_project_iam_custom_role":
            assigned = {"name": f"projects/{project}/roles/{values['role_id']}"}
        case "google_project":
            return {"number": "100000000000"}
        case "google_artifact_registry_repository":
            return {"name": values["repository_id"]}
        case "google_redis_instance":
            return _redis(project, values)
        case "google_certificate_manager_dns_authorization":
            name = f"_acme-challenge.{values['domain']}."
            record = {"name": name, "type": "CNAME", "data": "1.authorize.certificatemanager.goog."}
            return {"dns_resource_record": [record]}
        case _:
            return {}
    return {**assigned, "id": assigned["name"]}


def _redis(project: str, values: Values) -> Values:
    fields = ("cert", "create_time", "expire_time", "serial_number", "sha1_fingerprint")
    certificates = [dict.fromkeys(fields, tls_certificates.Authority().pem) for _ in range(2)]
    return {
        "id": f"projects/{project}/locations/{values['region']}/instances/{values['name']}",
        "host": "10.16.0.3",
        "port": 6378,
        "auth_string": "its-own",
        "server_ca_certs": certificates,
    }
