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
  lifecycle { create_before_destroy = true }

  depends_on = [google_project_service.api]
}
