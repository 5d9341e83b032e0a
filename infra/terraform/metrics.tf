# A log-based metric for each field of metric_fields.json: a distribution of its values, or a counter with labels.

locals {
  metric_prefix = "progress_"

  # Histogram bounds. Percentiles between two bounds are interpolated and therefore inexact, so each alert threshold is
  # a bound.
  metric_bounds = {
    "ms" = [
      1, 2, 5, 10, 20, 50, 100, 150, 200, 250, 300, 400, 500, 600, 750, 1000, 1500, 2000, 3000, 4000, 5000,
      6000, 8000, 10000, 15000, 30000, 60000, 120000, 300000, 600000, 1800000, 3600000, 21600000, 86400000,
    ]
    "{event}"     = [1, 10, 100, 250, 500, 750, 1000, 1500, 2500, 5000, 10000, 100000, 1000000, 10000000]
    "{letter}"    = [1, 2, 5, 10, 20, 50, 100, 1000, 10000, 100000]
    "{operation}" = [1, 2, 5, 10, 20, 50, 100, 1000]
    "1"           = [for step in range(1, 21) : step / 20]
    "By"          = [for power in range(20, 45) : pow(2, power)] # 1 MiB to 16 TiB
  }
}

resource "google_logging_metric" "field" {
  for_each = local.metric_fields

  name        = "${local.metric_prefix}${each.key}"
  description = each.value.meaning

  # The log lines of Progress's services and jobs that have the field.
  filter = join(" AND ", [
    "resource.type=(\"cloud_run_revision\" OR \"cloud_run_job\")",
    "(resource.labels.service_name=~\"^progress-\" OR resource.labels.job_name=~\"^progress-\")",
    "jsonPayload.${each.key}:*",
  ])

  value_extractor  = each.value.kind == "distribution" ? "EXTRACT(jsonPayload.${each.key})" : null
  label_extractors = { for label in each.value.labels : label => "EXTRACT(jsonPayload.${label})" }

  metric_descriptor {
    display_name = each.key
    metric_kind  = "DELTA"
    value_type   = each.value.kind == "distribution" ? "DISTRIBUTION" : "INT64"
    unit         = each.value.unit

    dynamic "labels" {
      for_each = each.value.labels
      content {
        key        = labels.value
        value_type = "STRING"
      }
    }
  }

  dynamic "bucket_options" {
    for_each = each.value.kind == "distribution" ? [local.metric_bounds[each.value.unit]] : []
    content {
      explicit_buckets { bounds = bucket_options.value }
    }
  }

  depends_on = [google_project_service.api]
}

locals {
  # The PromQL name of each field's metric.
  series = {
    for field, metric in google_logging_metric.field : field => "logging_googleapis_com:user_${metric.name}"
  }
}
