"""The time series that Terraform's log-based metrics make of log lines."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.alert_policies import CONTRACT
from tests.support.log_filters import parsed
from tests.support.promtool import Series, listed

JOB = "batch"  # lines with this operation come from the job, all others from the functions

_PREFIX = "logging_googleapis_com:user_"
_EXTRACTED = re.compile(r"EXTRACT\(jsonPayload\.(\w+)\)")

Line = dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """A planned log-based metric of a declared field."""

    field: str
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

    def series(self, timeline: Iterable[tuple[int, Line]], minutes: int) -> Series:
        """Return the metric's series for lines that are written in these minutes."""
        parts: dict[tuple[str, tuple[tuple[str, str], ...]], Counter[int]] = {}
        for minute, line in timeline:
            if self.matches(line):
                for suffix, more, amount in self._growth(line):
                    key = suffix, tuple({**self.labels(line), **more}.items())
                    parts.setdefault(key, Counter())[minute] += amount
        made: Series = {}
        for (suffix, labels), growth in parts.items():
            totals = [sum(growth[past] for past in range(m + 1)) for m in range(minutes)]
            made |= listed(f"{_PREFIX}{self.planned['name']}{suffix}", dict(labels), totals)
        return made

    def _growth(self, line: Line) -> Iterable[tuple[str, dict[str, str], Any]]:
        """Yield by how much the line increases which of the metric's series."""
        if CONTRACT[self.field]["kind"] == "count":
            yield "", {}, 1
            return
        value = self.value(line)
        yield "_count", {}, 1
        yield "_sum", {}, value
        (options,) = self.planned["bucket_options"]
        for bound in (*options["explicit_buckets"][0]["bounds"], float("inf")):
            le = "+Inf" if bound == float("inf") else str(float(bound))
            yield "_bucket", {"le": le}, int(value <= bound)


def stored(line: Line) -> dict[str, Any]:
    """Return the line as Cloud Logging stores it, with the resource that wrote it."""
    if line.get("operation") == JOB:
        wrote = {"type": "cloud_run_job", "labels": {"job_name": "progress-batch"}}
    else:
        wrote = {"type": "cloud_run_revision", "labels": {"service_name": "progress-query"}}
    severity = line.get("severity", "DEFAULT")
    return {"resource": wrote, "severity": severity, "jsonPayload": line}


def _field(extractor: str) -> str:
    match = _EXTRACTED.fullmatch(extractor)
    assert match, extractor
    return match[1]
