# Uptime check of the domain from the internet. An environment without a domain has none, because a check every minute
# would keep an instance and Neon's database running.

resource "google_monitoring_uptime_check_config" "query" {
  count = var.domain == null ? 0 : 1

  display_name     = "Progress, ${var.environment}: query function ready"
  period           = "60s"
  timeout          = "10s"
  selected_regions = ["EUROPE", "USA_VIRGINIA", "ASIA_PACIFIC"]

  monitored_resource {
    type   = "uptime_url"
    labels = { project_id = var.project_id, host = var.domain }
  }

  http_check {
    path         = "/health" # without the database: of its outage, the alert "errors" tells
    port         = 443
    use_ssl      = true
    validate_ssl = true
  }

  # Another domain replaces the check. The API does not delete the old check while the policy still refers to it.
  lifecycle {
    create_before_destroy = true
  }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_alert_policy" "uptime" {
  count = var.domain == null ? 0 : 1

  display_name          = "Progress, ${var.environment}: the API is unreachable"
  severity              = "CRITICAL"
  combiner              = "OR"
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]
  user_labels           = { alert = "uptime" }

  conditions {
    display_name = "/health fails from two or more regions"
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
    subject   = "Progress, ${var.environment}: the API is unreachable"
    content = join("\n\n", [
      "**Condition:** `/health` did not return 200 to checks from two or more regions. Learners cannot use Progress.",
      "**Likely cause:** no instance of progress-query starts, or the certificate expired.",
      "**What to do:** check the service and its log. After a release, roll back.",
      "**Runbook:** ${local.runbook}#uptime",
    ])
  }

  alert_strategy {
    auto_close = "3600s"
  }
}
