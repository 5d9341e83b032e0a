# The two objectives: within 28 days, 99 % of the requests to the query function succeed, and 99 % of the wake-ups fold
# in time. They cost nothing. alerts.tf has the alerts on how fast their error budgets are used up.

locals {
  slos = {
    availability = { function = "query", bad = "of the requests to the query function failed" }
    freshness    = { function = "project", bad = "of the events folded later than ${var.max_lag_seconds} s" }
  }

  # How fast a budget may be used up. The fast burn is the first row of the table in Google's SRE workbook ("Alerting on
  # SLOs": 14.4 times for an hour, and still so in the last five minutes). The goal is 99 %, so a rate is a percentage.
  burns = flatten([for name in keys(local.slos) : [
    { name = "${name}-burn", slo = name, severity = "ERROR", rate = 2, within = "a day", windows = [86400] },
    {
      name   = "${name}-fast-burn", slo = name, severity = "CRITICAL", rate = 14.4
      within = "an hour and within five minutes", windows = [3600, 300]
    },
  ]])
}

resource "google_monitoring_service" "function" {
  for_each = {
    for name, slo in local.slos : name => slo
    if anytrue([for burn in local.burns : burn.slo == name && contains(local.alerts_wanted, burn.name)])
  }

  service_id   = "progress-${each.value.function}"
  display_name = "Progress, ${var.environment}: ${each.value.function}"

  basic_service {
    service_type   = "CLOUD_RUN"
    service_labels = { service_name = "progress-${each.value.function}", location = var.region }
  }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_slo" "this" {
  for_each = google_monitoring_service.function

  service             = each.value.service_id
  slo_id              = each.key
  display_name        = "Progress, ${var.environment}: ${each.key}"
  goal                = 0.99
  rolling_period_days = 28

  dynamic "basic_sli" {
    for_each = each.key == "availability" ? [1] : []
    content {
      availability { enabled = true }
    }
  }

  # A wake-up reports the time since the publication of the oldest event that it folded.
  dynamic "request_based_sli" {
    for_each = each.key == "freshness" ? [1] : []
    content {
      distribution_cut {
        distribution_filter = join(" AND ", [
          "metric.type=\"logging.googleapis.com/user/${google_logging_metric.field["projection_delay_ms"].name}\"",
          "resource.type=\"cloud_run_revision\"",
        ])
        range { max = 1000 * var.max_lag_seconds }
      }
    }
  }

  # Monitoring refuses an objective on a metric that it does not know yet
  # (https://github.com/GoogleCloudPlatform/cloud-ops-sandbox/issues/896), which may last ten minutes
  # (https://github.com/hashicorp/terraform-provider-google/issues/11102).
  depends_on = [terraform_data.migrate]
}
