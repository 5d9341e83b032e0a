# The dashboard: a chart for each field and each exported metric of metric_fields.json, and charts of platform metrics
# that the runbook uses.

locals {
  # The queries of each kind of metric, by legend: of a metric's series, by its labels.
  metric_queries = {
    count = { "a second" = "sum by (%[2]s) (rate(%[1]s[5m]))" }
    distribution = {
      p50 = "histogram_quantile(0.5, sum by (%[2]s) (rate(%[1]s[10m])))"
      p95 = "histogram_quantile(0.95, sum by (%[2]s) (rate(%[1]s[10m])))"
    }
  }
  # A query may select only one kind of resource. PromQL needs braces and quotes for the metrics that OpenTelemetry
  # exports, because their names contain a dot.
  metric_series = merge(
    { for name in keys(local.declared_fields.exported) : name => ["{\"progress.${name}_bucket\"}"] },
    {
      for field, series in local.series : field => [
        for selector in [local.services_selector, local.jobs_selector] :
        "${series}${local.metric_fields[field].kind == "count" ? "" : "_bucket"}{${selector}}"
      ]
    },
  )
  metric_charts = [
    for name, metric in merge(local.metric_fields, local.declared_fields.exported) : {
      title = "${name}: ${metric.meaning}"
      unit  = metric.unit
      names = metric.labels # the labels that name the lines of the chart
      lines = {
        for legend, query in local.metric_queries[metric.kind] : legend => join(" or ", [
          for series in local.metric_series[name] :
          format(query, series, join(", ", concat(metric.kind == "count" ? [] : ["le"], metric.labels)))
        ])
      }
    }
  ]

  platform_charts = [
    for title, lines in {
      "Cache hit rate, 0 to 1: low while learners study with an open page" = { "hit rate" = local.cache_hit_rate }
      "Instances of each service" = {
        "$${labels.service_name} instances" = join("", [
          "sum by (service_name) (run_googleapis_com:container_instance_count{${local.services_selector}})",
        ])
      }
      "Cloud SQL: CPU, 0 to 1" = {
        CPU = "cloudsql_googleapis_com:database_cpu_utilization{monitored_resource=\"cloudsql_database\"}"
      }
      "Memorystore: memory, 0 to 1" = {
        memory = "redis_googleapis_com:stats_memory_usage_ratio{monitored_resource=\"redis_instance\"}"
      }
    } : { title = title, unit = "1", names = [], lines = lines }
  ]
}

resource "google_monitoring_dashboard" "progress" {
  dashboard_json = jsonencode({
    displayName = "Progress, ${var.environment}"
    mosaicLayout = {
      columns = 12
      tiles = [
        for index, chart in concat(local.metric_charts, local.platform_charts) : merge(
          # The API omits a position of 0. If this configuration set a position to 0, every plan would show a change.
          { for side, place in { xPos = (index % 2) * 6, yPos = floor(index / 2) * 4 } : side => place if place > 0 },
          {
            width  = 6
            height = 4
            widget = {
              title = chart.title
              xyChart = {
                dataSets = [
                  for legend, query in chart.lines : {
                    plotType        = "LINE"
                    legendTemplate  = join(" ", concat([for name in chart.names : "$${labels.${name}}"], [legend]))
                    timeSeriesQuery = { prometheusQuery = query, unitOverride = chart.unit }
                  }
                ]
              }
            }
          },
        )
      ]
    }
  })

  depends_on = [google_project_service.api]
}
