"""The time series that Terraform's log-based metrics make of log lines."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.log_filters import parsed

JOB = "batch"  # lines with this operation come from the job, all others from the functions

_EXTRACTED = re.compile(r"EXTRACT\(jsonPayload\.(\w+)\)")

Line = dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """A planned log-based metric of a declared field."""

    planned: Mapping[str, Any]

    def matches(self, line: Line) -> bool:
        return parsed(self.planned["filter"])(stored(line))

    def value(self, line: Line) -> object:
        """Return the value that a distribution extracts from the line."""
        return line[_field(self.planned["value_extractor"])]

    def labels(self, line: Line) -> dict[str, str]:
        """Return the labels of the time series in which the metric counts the line."""
        resource = stored(line)["resource"]
        extracted = {
            label: str(line[_field(extractor)])
            for label, extractor in (self.planned["label_extractors"] or {}).items()
        }
        return {**extracted, **resource["labels"], "monitored_resource": resource["type"]}


def stored(line: Line) -> dict[str, Any]:
    """Return the line as Cloud Logging stores it, with the resource that wrote it."""
    if line.get("operation") == JOB:
        wrote = {"type": "cloud_run_job", "labels": {"job_name": "progress-batch"}}
    else:
        wrote = {"type": "cloud_run_revision", "labels": {"service_name": "progress-query"}}
    return {"resource": wrote, "jsonPayload": line}


def _field(extractor: str) -> str:
    match = _EXTRACTED.fullmatch(extractor)
    assert match, extractor
    return match[1]
