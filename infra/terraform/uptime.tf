# Whether the query function answers from outside: in prod alone. In an environment that rests at zero a check a minute
# would keep an instance and the database awake, and paid for.

resource "google_monitoring_uptime_check_config" "query" {
  count = var.domain == null ? 0 : 1

  display_name     = "Progress, ${var.environment}: the query function is ready"
  period           = "60s"
  timeout          = "10s"
  selected_regions = ["EUROPE", "USA_VIRGINIA", "ASIA_PACIFIC"]

  monitored_resource {
    type   = "uptime_url"
    labels = { project_id = var.project_id, host = var.domain }
  }

  http_check {
    path         = "/ready" # asks the database; without the cache it is ready
    port         = 443
    use_ssl      = true
    validate_ssl = true
  }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_alert_policy" "uptime" {
  count = var.domain == null ? 0 : 1

  display_name          = "Progress, ${var.environment}: the query function cannot be reached"
  severity              = "CRITICAL"
  combiner              = "OR"
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]
  user_labels           = { alert = "uptime" }

  conditions {
    display_name = "two regions or more found it not ready"
    condition_threshold {
      filter = join(" AND ", [
        "resource.type=\"uptime_url\"",
        "metric.type=\"monitoring.googleapis.com/uptime_check/check_passed\"",
        "metric.labels.check_id=\"${google_monitoring_uptime_check_config.query[0].uptime_check_id}\"",
      ])
      comparison      = "COMPARISON_GT"
      threshold_value = 1
      duration        = "60s"

      aggregations {
        alignment_period     = "120s"
        per_series_aligner   = "ALIGN_NEXT_OLDER"
        cross_series_reducer = "REDUCE_COUNT_FALSE"
        group_by_fields      = ["resource.label.host"]
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "Progress, ${var.environment}: the query function cannot be reached"
    content   = "From outside, /ready does not answer 200: the load balancer, the function or its database is away.\n\nWhat to do: ${local.runbook}#uptime"
  }

  alert_strategy {
    auto_close = "3600s"
  }
}
