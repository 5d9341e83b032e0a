"""Write Grafana's dashboard: a panel for each metric that metric_fields.json declares.

python infra/docker/grafana/write_dashboard.py
"""

import json
from pathlib import Path
from typing import Any

from progress.adapters.telemetry import metric_fields
from progress.adapters.telemetry.metric_fields import MetricField
from progress.projections.gauges import Gauges

FILE = Path(__file__).with_name("dashboards") / "progress.json"

_SOURCE = {"type": "prometheus", "uid": "prometheus"}
_UNITS = {"ms": "ms", "By": "bytes", "1": "percentunit"}


def generate() -> str:
    declared = metric_fields.load()
    fields = (declared.metric_fields | declared.exported).items()
    dashboard = {
        "uid": "progress",
        "title": "Progress",
        "schemaVersion": 41,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "panels": [_panel(place, name, field) for place, (name, field) in enumerate(fields)],
    }
    return json.dumps(dashboard, indent=2) + "\n"


def _panel(place: int, name: str, field: MetricField) -> dict[str, Any]:
    unit = "ops" if field.kind == "count" else _UNITS.get(field.unit, "short")
    defaults: dict[str, Any] = {"unit": unit, "min": 0}
    if field.limit is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": field.limit}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        defaults["custom"] = {"thresholdsStyle": {"mode": "line"}}
    lines = _lines(f"progress_{name}", field, name in Gauges.__struct_fields__)
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": f"{name}: {field.meaning}",
        "datasource": _SOURCE,
        "gridPos": {"h": 8, "w": 12, "x": place % 2 * 12, "y": place // 2 * 8},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": line, "datasource": _SOURCE, "expr": query, "legendFormat": legend}
            for line, (legend, query) in zip("ABC", lines, strict=False)
        ],
    }


def _lines(metric: str, field: MetricField, is_gauge: bool) -> list[tuple[str, str]]:
    labels = " ".join(f"{{{{{label}}}}}" for label in field.labels)
    if field.kind == "count":
        return [(labels, f"sum by ({', '.join(field.labels)}) (rate({metric}[5m]))")]
    by = ", ".join(("le", *field.labels))
    lines = [
        (
            f"{labels} p{quantile}".lstrip(),
            f"histogram_quantile(0.{quantile}, sum by ({by}) (rate({metric}_bucket[5m])))",
        )
        for quantile in ((95,) if field.labels else (50, 95))
    ]
    if not is_gauge:
        return lines
    # Each run of the batch job is a process that measures once: its mean is the last value.
    run = '{operation="batch"}' if field.labels else ""
    last = ("the batch job, last", f"sum({metric}_sum{run}) / sum({metric}_count{run})")
    return [*lines, last] if field.labels else [last]


if __name__ == "__main__":
    FILE.write_text(generate(), encoding="utf-8")
