# One dashboard: a chart for each signal of metric_fields.json, and what the runbook looks at beside them.

locals {
  signal_charts = [
    for field, signal in local.signals.signals : {
      title = "${field}: ${signal.meaning}"
      unit  = signal.unit
      names = signal.labels # which line is whose
      lines = signal.kind == "count" ? {
        "a second" = join(" or ", [
          for of in local.of_either :
          "sum by (${join(", ", signal.labels)}) (rate(${local.series[field]}{${of}}[5m]))"
        ])
        } : {
        for name, quantile in { p50 = 0.5, p95 = 0.95 } : name => join(" or ", [
          for of in local.of_either :
          "histogram_quantile(${quantile}, sum by (${join(", ", concat(["le"], signal.labels))}) (rate(${local.series[field]}_bucket{${of}}[10m])))"
        ])
      }
    }
  ]

  platform_charts = [
    {
      title = "Instances of each service"
      unit  = "1"
      names = ["service_name"]
      lines = { instances = "sum by (service_name) (run_googleapis_com:container_instance_count{${local.of_services}})" }
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

  charts    = concat(local.signal_charts, local.platform_charts)
  of_either = [local.of_services, local.of_jobs] # a query must name one kind of resource
}

resource "google_monitoring_dashboard" "progress" {
  dashboard_json = jsonencode({
    displayName = "Progress, ${var.environment}"
    mosaicLayout = {
      columns = 12
      tiles = [
        for index, chart in local.charts : merge(
          # The API tells no place that is 0: said here, it would be a change in every plan.
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
