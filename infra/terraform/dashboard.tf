# The dashboard: a chart for each field and each exported metric of metric_fields.json, and charts of platform metrics
# that the runbook uses.

locals {
  field_charts = [
    for field, metric in local.metric_fields : {
      title = "${field}: ${metric.meaning}"
      unit  = metric.unit
      names = metric.labels # the labels that name the lines of the chart
      lines = metric.kind == "count" ? {
        "a second" = join(" or ", [
          for resource in local.resource_kinds :
          "sum by (${join(", ", metric.labels)}) (rate(${local.series[field]}{${resource}}[5m]))"
        ])
        } : {
        for name, quantile in { p50 = 0.5, p95 = 0.95 } : name => join(" or ", [
          for resource in local.resource_kinds :
          join("", [
            "histogram_quantile(${quantile}, sum by (${join(", ", concat(["le"], metric.labels))}) ",
            "(rate(${local.series[field]}_bucket{${resource}}[10m])))",
          ])
        ])
      }
    }
  ]

  # Metrics that OpenTelemetry exports. PromQL needs braces and quotes, because their names contain a dot.
  exported_charts = [
    for name, metric in local.declared_fields.exported : {
      title = "${name}: ${metric.meaning}"
      unit  = metric.unit
      names = metric.labels
      lines = {
        p95 = join("", [
          "histogram_quantile(0.95, sum by (${join(", ", concat(["le"], metric.labels))}) ",
          "(rate({\"progress.${name}_bucket\"}[10m])))",
        ])
      }
    }
  ]

  cache_chart = {
    title = "Cache hit rate, 0 to 1: low while learners study with an open page"
    unit  = "1"
    names = []
    lines = { "hit rate" = local.cache_hit_rate }
  }

  platform_charts = [
    {
      title = "Instances of each service"
      unit  = "1"
      names = ["service_name"]
      lines = {
        instances = "sum by (service_name) (run_googleapis_com:container_instance_count{${local.services_selector}})"
      }
    },
    {
      title = "Cloud SQL: CPU, 0 to 1"
      unit  = "1"
      names = []
      lines = { CPU = "cloudsql_googleapis_com:database_cpu_utilization{monitored_resource=\"cloudsql_database\"}" }
    },
    {
      title = "Memorystore: memory, 0 to 1"
      unit  = "1"
      names = []
      lines = { memory = "redis_googleapis_com:stats_memory_usage_ratio{monitored_resource=\"redis_instance\"}" }
    },
  ]

  charts         = concat(local.field_charts, [local.cache_chart], local.exported_charts, local.platform_charts)
  resource_kinds = [local.services_selector, local.jobs_selector] # a query may select only one kind of resource
}

resource "google_monitoring_dashboard" "progress" {
  dashboard_json = jsonencode({
    displayName = "Progress, ${var.environment}"
    mosaicLayout = {
      columns = 12
      tiles = [
        for index, chart in local.charts : merge(
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
