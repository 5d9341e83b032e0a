"""The Compose file and its mounted files are valid and consistent with the code."""

import importlib.metadata
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml
from packaging.requirements import Requirement

from infra.docker.grafana import write_dashboard
from progress.settings import Settings
from tests.support import programs, promtool
from tests.support.terraform import REPOSITORY

FOLDER = REPOSITORY / "infra" / "docker"
_FILE = FOLDER / "compose.yaml"
_TEXT = _FILE.read_text(encoding="utf-8")
_DOCKERFILE = FOLDER / "Dockerfile"
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([-?])([^}]*))?\})")
_PINNED = re.compile(r"[\w./-]+:v?\d[\w.-]*@sha256:[0-9a-f]{64}")
_LINES = (FOLDER / ".env.example").read_text(encoding="utf-8").splitlines()
EXAMPLE = dict(line.split("=", 1) for line in _LINES if line and not line.startswith("#"))


def read_services(variables: dict[str, str]) -> dict[str, dict[str, Any]]:
    def value(match: re.Match[str]) -> str:
        name, sign, text = match.groups()
        if name is None:
            return "$"  # written as $$
        return variables.get(name) or (text if sign == "-" else variables[name])

    services: dict[str, dict[str, Any]] = yaml.safe_load(_VARIABLE.sub(value, _TEXT))["services"]
    return services


SERVICES = read_services(EXAMPLE)
BUILDS = [(one["image"], one["build"]) for one in SERVICES.values() if "build" in one]


def test_the_compose_file_matches_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    programs.run([*command, _FILE])


def test_the_system_has_known_settings_and_the_command_of_a_server() -> None:
    known = {field.name.upper() for field in msgspec.structs.fields(Settings)}
    environment = SERVICES["progress"]["environment"]
    assert environment.keys() - {"OTEL_METRIC_EXPORT_INTERVAL"} <= known
    assert "ENVIRONMENT" not in environment  # production
    assert environment["LEARNERS_MAY_POST"] == "false"
    assert SERVICES["progress"]["command"] == ["progress", "serve", "--public"]
    assert SERVICES["valkey"]["command"][-2:] == ["--maxmemory-policy", "volatile-ttl"]
    for host, port in re.findall(r"(?://|@)([a-z]+):(\d+)", json.dumps(environment)):
        assert port in json.dumps(SERVICES[host])


def test_compose_yaml_and_env_example_have_the_same_variables() -> None:
    variables = [one for one in _VARIABLE.findall(_TEXT) if one[0]]
    assert EXAMPLE.keys() == {name for name, _, _ in variables}
    for name, sign, default in variables:
        assert sign != "-" or default == EXAMPLE[name], name


def test_all_ports_are_published_only_on_localhost() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) > 8
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)
    outside = [port.split(":")[1] for port in ports]
    assert len(set(outside)) == len(outside)


def test_postgresql_has_the_version_of_the_local_stack_and_of_the_cloud() -> None:
    version = re.match(r"postgres:((18)\.\d+)", SERVICES["postgres"]["image"])
    assert version
    packages = (REPOSITORY / "requirements-dev.txt").read_text(encoding="utf-8")
    assert f"\nembedded-postgres=={version[1]}." in packages
    terraform = (REPOSITORY / "infra/terraform/cloud_sql.tf").read_text(encoding="utf-8")
    assert f'database_version    = "POSTGRES_{version[2]}"' in terraform


def test_each_image_is_built_or_pulled_by_one_service() -> None:
    """Compose builds in parallel, so the first `up` fails if two services build the same image."""
    images = [image for image, _ in BUILDS]
    assert len(images) == len(set(images))
    published = read_services({**EXAMPLE, "PROGRESS_IMAGE": "ghcr.io/p:1"})
    assert SERVICES["progress"]["image"] in images
    assert published["progress"]["image"] == "ghcr.io/p:1"


def test_each_image_is_pinned() -> None:
    images = {service["image"] for service in SERVICES.values()} - {image for image, _ in BUILDS}
    files = [read_dockerfile(build) for _, build in BUILDS]
    bases = [base for text in files for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE)]
    stages = {
        name for text in files for name in re.findall(r"^FROM .* AS (\w+)$", text, re.MULTILINE)
    }
    bases = [base for base in bases if base not in stages]
    assert len(images) == 7
    assert len(bases) == 3
    for image in [*images, *bases]:
        assert _PINNED.fullmatch(image), image
    assert len({base for base in bases if base.startswith("python:")}) == 1


def read_dockerfile(build: str | dict[str, str]) -> str:
    named = {"context": build} if isinstance(build, str) else build
    file = FOLDER / named["context"] / named.get("dockerfile", "Dockerfile")
    return file.read_text(encoding="utf-8")


def test_mounted_files_exist() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).exists(), mount
                assert mount.endswith(":ro")


def test_the_image_runs_as_an_ordinary_user_in_the_folder_of_the_wheel() -> None:
    """Kubernetes takes a user for ordinary only if it is a number."""
    text = _DOCKERFILE.read_text(encoding="utf-8")
    assert re.findall(r"^USER (\d+)$", text, re.MULTILINE) == re.findall(r"--uid (\d+)", text)
    (version,) = re.findall(r"^FROM python:(\d+\.\d+)\.", text, re.MULTILINE)
    assert f"\nWORKDIR /usr/local/lib/python{version}/site-packages/progress/_files\n" in text


def test_the_image_takes_each_package_that_builds_the_wheel_from_the_lock() -> None:
    text = _DOCKERFILE.read_text(encoding="utf-8")
    (taken,) = re.findall(r"/\^\((.*?)\)==/", text)
    wanted, found = ["hatchling"], set[str]()
    while wanted:
        name = wanted.pop()
        found.add(name)
        required = map(Requirement, importlib.metadata.requires(name) or ())
        wanted += [one.name for one in required if not one.marker or one.marker.evaluate()]
    assert set(taken.split("|")) == found


def test_prometheus_accepts_its_configuration(request: pytest.FixtureRequest) -> None:
    promtool.check_config(request, FOLDER / "prometheus" / "prometheus.yml")


def test_the_collector_exports_to_existing_services() -> None:
    config = _yaml("collector/config.yaml")
    for pipeline in config["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            assert set(names) <= config[kind].keys()
    assert set(config["service"]["extensions"]) <= config["extensions"].keys()
    assert config["exporters"]["prometheus"]["add_metric_suffixes"] is False
    scraped = _yaml("prometheus/prometheus.yml")["scrape_configs"][0]["static_configs"][0]
    port = config["exporters"]["prometheus"]["endpoint"].rpartition(":")[2]
    assert scraped["targets"] == [f"collector:{port}"]
    receiver = config["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    assert f"http://collector:{receiver}." in (FOLDER / ".env.example").read_text("utf-8")
    assert urlsplit(config["exporters"]["otlphttp/jaeger"]["endpoint"]).hostname in SERVICES


def test_the_dashboard_of_grafana_is_the_one_that_the_command_writes() -> None:
    text = write_dashboard.FILE.read_text("utf-8")
    assert text == write_dashboard.generate(), "run infra/docker/grafana/write_dashboard.py"
    sources = _yaml("grafana/provisioning/datasources/all.yaml")["datasources"]
    assert {source["uid"] for source in sources} == {"prometheus", "jaeger"}


def test_each_grafana_query_parses(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    panels = json.loads(write_dashboard.FILE.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    promtool.check_queries(request, queries, tmp_path)


def _yaml(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return content
