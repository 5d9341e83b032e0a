# The alerts: a table, and a policy for each of its rows. They read the metrics of Progress's log lines (metrics.tf) and
# metrics of Google Cloud. A notification has the condition, and the first paragraph of the alert's section in the
# runbook, whose heading is the name of the alert.

variable "alert_emails" {
  description = "The e-mail addresses that get the alerts; without any, nobody is told (see the output `alerting`)."
  type        = list(string)
  default     = []

  validation {
    condition     = var.environment == "dev" || length(var.alert_emails) > 0
    error_message = "expected at least one address in alert_emails for staging and prod"
  }
}

variable "alert_channel" {
  # A channel of PagerDuty gets its integration key with the first apply, and when the part after the colon changes.
  description = "What is told beside alert_emails: a webhook's https address, or \"pagerduty:1\" (see pagerduty_key)."
  type        = string
  default     = null

  validation {
    condition     = var.alert_channel == null || can(regex("^(https://[^/]+|pagerduty:[0-9]+$)", var.alert_channel))
    error_message = "expected an address that begins with https://, or pagerduty: and a number"
  }
}

variable "pagerduty_key" {
  description = "PagerDuty's integration key (TF_VAR_pagerduty_key); plans and the state do not contain it."
  type        = string
  default     = null
  ephemeral   = true
  sensitive   = true
}

variable "alerts" {
  # "cache-hit-rate" follows from what learners do: studying with an open page, they hit 0 to 10 %.
  description = "The alerts of this environment, by name; null: all but cache-hit-rate. See the output `alerting`."
  type        = set(string)
  default     = null

  validation {
    condition     = var.alerts == null ? true : length(setsubtract(var.alerts, local.alert_names)) == 0
    error_message = "expected names of alerts: ${join(", ", local.alert_names)}"
  }
}

variable "max_lag_events" {
  description = "The number of unfolded events above which the realtime projections are critical: alert and API."
  type        = number
  default     = 1000
}

variable "max_lag_seconds" {
  description = "The age of the oldest unrecorded or unfolded event above which the lag is critical: alerts and API."
  type        = number
  default     = 5
}

variable "max_lag_batch_seconds" {
  description = "The same age for the projections of the batch job; null: the time of two intervals of its schedule."
  type        = number
  default     = null
}

variable "max_database_ms" {
  description = "The duration of a round trip to the database, in ms, above which it is too slow."
  type        = number
  default     = 100
}

variable "database_bytes_limit" {
  description = "The database's size limit in bytes; null: Cloud SQL's disk limit, or Neon's free plan."
  type        = number
  default     = null
}

locals {
  # The rows with PromQL: the alert fires if any of `any` is true for `for` seconds. Monitoring counts by the minute, so
  # that a five-minute window has minutes that lie only partly in it: a single high value can keep a condition true for
  # six minutes, and does not fire the alert if `for` is 360. Few requests or errors fire no alert on a percentage.
  promql_alerts = {
    # From publication to the log and to the realtime read models. A cold start is one late wake-up, or a few; after an
    # outage of five minutes, Pub/Sub delivers the last event less than eight minutes after its beginning. Neither keeps
    # the condition true for ten minutes. A waiting message has no measured delay yet.
    "event-delay" = {
      severity  = "ERROR", for = 600
      condition = "event or projection delay, p95 > ${var.max_lag_seconds} s, or a message waits for ingest"
      any = [
        "${local.p95.projection_delay_ms} > ${1000 * var.max_lag_seconds}",
        "${local.p95.event_delay_ms} > ${1000 * var.max_lag_seconds}",
        "${local.oldest_message_age.ingest} > 60",
      ]
    }
    "slow-queries" = {
      severity  = "WARNING", for = 360
      condition = "GraphQL, p95 > 500 ms"
      any = [join(" ", [
        "${local.p95.latency_ms} > 500 and ${local.graphql_requests} >= 20",
        "unless on () count(${join(" or ", values(local.failed_requests))}) > 0", # of an outage, "errors" tells
      ])]
    }
    "cache-hit-rate" = {
      severity  = "WARNING", for = 900
      condition = "cache hit rate < 70 %"
      any       = ["${local.cache_hit_rate} < 0.7 and ${local.cache_results.lookups} >= 20"]
    }
    # Pub/Sub repeats failed pushes, and clients their queries. A maintenance of Cloud SQL, of less than a minute, is
    # therefore no reason for a notification: its errors are recent for less than five minutes.
    "errors" = {
      severity  = "CRITICAL", for = 300
      condition = "errors > 1 %"
      any       = local.still_failed_requests
    }
    # While a worker runs a command, Pub/Sub counts the command as unacknowledged, and redelivers it after ten minutes.
    # The limit is therefore longer. An operation may run, or wait, for hours, and has a limit of its own.
    "projection-lag" = {
      severity  = "ERROR", for = 360
      condition = "over ${var.max_lag_events} events behind, or one for ${local.max_fold_seconds} s, or a command waits"
      any = [
        "${local.batch_mean.projection_lag} > ${var.max_lag_events}",
        "${local.batch_mean.projection_lag_ms} > ${1000 * local.max_fold_seconds}",
        "${local.p50_projection_lag} > ${var.max_lag_events}",
        "${local.oldest_message_age.project} > 900 unless on () ${local.batch_mean.running_operations} > 0",
      ]
    }
    "publication-lag" = {
      severity  = "ERROR", for = 300
      condition = "oldest unpublished event or milestone > ${local.max_fold_seconds} s"
      any       = ["${local.batch_mean.publication_lag_ms} > ${1000 * local.max_fold_seconds}"]
    }
    "dead-letters" = {
      severity  = "WARNING", for = 0
      condition = "dead letters neither replayed nor discarded, or in Pub/Sub's dead-letter subscriptions"
      any       = ["${local.batch_mean.dead_letters} > 0", "${local.dead_lettered_messages} > 0"]
    }
    "letter-bytes" = {
      severity  = "WARNING", for = 0
      condition = "dead letters take more than half of the bytes that they may have"
      any       = ["${local.batch_mean.letter_share} > 0.5"]
    }
    # Signing in may be free: somebody may make learners, and post for each.
    "learner-entries" = {
      severity  = "WARNING", for = 0
      condition = "learners have posted more than half of the entries that they may post in a day"
      any       = ["${local.posts_over_half} > 0.5"]
    }
    "pending-events" = {
      severity  = "WARNING", for = 0
      condition = "oldest pending event > 1 day"
      any       = ["${local.batch_mean.pending_ms} > ${1000 * 86400}"]
    }
    # The last attempt of a job counts as failed; no line of Progress tells of a job that died.
    "batch-job" = {
      severity  = "ERROR", for = 60
      condition = "no batch run for ${local.max_run_minutes} minutes, no dump of Neon for 25 hours, or a failed job"
      any       = concat([local.missing_run, local.failed_execution], local.missing_dumps)
    }
    "operations" = {
      severity  = "ERROR", for = 0
      condition = "an operation failed, timed out or is unfinished for too long"
      any       = ["${local.batch_mean.failed_operations} > 0", "${local.batch_mean.overdue_operations} > 0"]
    }
    "database-limits" = {
      severity  = "ERROR", for = 300
      condition = "connections or size > 80 %, or a round trip > ${var.max_database_ms} ms"
      any = [
        "${local.batch_mean.database_connections} > 0.8",
        "${local.batch_mean.database_bytes} > ${floor(local.bytes_limit * 0.8)}",
        "${local.batch_mean.database_ms} > ${var.max_database_ms}",
      ]
    }
    # The disk grows up to its limit by itself, so that its size says nothing. It has what the size of the database,
    # of which "database-limits" tells, has not: the log of the last seven days.
    "database-load" = {
      severity  = "ERROR", for = 300
      condition = "Cloud SQL: CPU or memory > 90 % for 15 minutes, disk > 80 % of its limit, or a failover"
      any = [
        "avg_over_time(${local.cloud_sql_series.cpu_utilization}[15m]) > 0.9",
        "avg_over_time(${local.cloud_sql_series.memory_utilization}[15m]) > 0.9",
        "${local.cloud_sql_series.disk_bytes_used} > ${floor(local.cloud_sql_disk_limit_gb * pow(2, 30) * 0.8)}",
        "increase(${local.cloud_sql_series.auto_failover_request_count}[10m]) > 0",
      ]
    }
  }

  # The rows of all conditions. `count` makes one series of all that is true, so that an outage sends one notification.
  alerts = merge(
    { for name, alert in local.promql_alerts : name => merge(alert, { query = "count(${join(" or ", alert.any)})" }) },
    {
      for burn in local.burns : burn.name => {
        severity  = burn.severity, for = 0, above = burn.rate, period = null
        condition = "within ${burn.within}, over ${burn.rate} % ${local.slos[burn.slo].bad}"
        filters = [
          for seconds in burn.windows :
          "select_slo_burn_rate(\"${try(google_monitoring_slo.this[burn.slo].name, "off")}\", \"${seconds}s\")"
        ]
      }
    },
    {
      "uptime" = {
        severity  = "CRITICAL", for = 60, above = 1, period = 120
        condition = "/health fails from two or more regions"
        filters = [join(" AND ", [
          "resource.type=\"uptime_url\"",
          "metric.type=\"monitoring.googleapis.com/uptime_check/check_passed\"",
          "metric.labels.check_id=\"${try(google_monitoring_uptime_check_config.query[0].uptime_check_id, "off")}\"",
        ])]
      }
      # Each error in a log, also those of the platform: a failed request, an instance that does not start, a failed
      # schedule. Left out are requests that are repeated, which the alert "errors" counts: each response 503 asks for
      # it, and Pub/Sub repeats all pushes to ingest and project, such as those that meet a cold start.
      "error-logs" = {
        severity  = "ERROR"
        condition = "a log line of severity ERROR or higher"
        lines = join(" AND ", [
          "severity>=ERROR",
          "NOT httpRequest.status=503",
          "NOT (httpRequest.status:* AND resource.labels.service_name=~\"^progress-(ingest|project)$\")",
          join("", [
            "(resource.labels.service_name=~\"^progress-\" OR resource.labels.job_name=~\"^progress-\"",
            " OR resource.labels.job_id=~\"^progress-\")",
          ]),
        ])
      }
    },
  )

  alert_names   = concat(keys(local.promql_alerts), local.burns[*].name, ["uptime", "error-logs"])
  alerts_wanted = var.alerts == null ? setsubtract(local.alert_names, ["cache-hit-rate"]) : var.alerts
  # Without what they watch, alerts are off. The error budgets need instances that are always ready: where there are few
  # requests, those that meet a cold start would use them up.
  alerts_on = setsubtract(local.alerts_wanted, concat(
    var.domain == null ? ["uptime"] : [],
    local.has_cloud_sql ? [] : ["database-load"],
    min(values(var.functions)[*].min_instances...) == 0 ? local.burns[*].name : [],
  ))

  # The first paragraph of each alert's section. A fast burn has that of the burn.
  sections = { for name in local.alert_names : name => replace(name, "-fast-", "-") }
  first_paragraphs = {
    for name, section in local.sections : name =>
    regex("(?is)\n### ${replace(section, "-", " ")}\n\n(.*?)\n\n", file("${path.module}/../../docs/runbook.md"))[0]
  }

  channels = concat(
    [for channel in google_monitoring_notification_channel.email : channel.id],
    google_monitoring_notification_channel.other[*].id,
  )
}

resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.alert_emails)

  display_name = each.value
  type         = "email"
  labels       = { email_address = each.value }

  # The API does not delete a channel to which a policy still refers. Terraform therefore changes the policies first.
  lifecycle { create_before_destroy = true }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_notification_channel" "other" {
  count = var.alert_channel == null ? 0 : 1

  display_name = startswith(var.alert_channel, "https:") ? "webhook" : "PagerDuty"
  type         = startswith(var.alert_channel, "https:") ? "webhook_tokenauth" : "pagerduty"
  labels       = startswith(var.alert_channel, "https:") ? { url = var.alert_channel } : null

  dynamic "sensitive_labels" {
    for_each = regexall("^pagerduty:([0-9]+)", var.alert_channel)
    content {
      service_key_wo         = coalesce(var.pagerduty_key, "TF_VAR_pagerduty_key-is-missing")
      service_key_wo_version = sensitive_labels.value[0]
    }
  }

  lifecycle { create_before_destroy = true }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_alert_policy" "alert" {
  for_each = { for name in local.alerts_on : name => local.alerts[name] }

  display_name          = "Progress, ${var.environment}: ${replace(each.key, "-", " ")} (${each.value.condition})"
  severity              = each.value.severity
  combiner              = length(try(each.value.filters, [])) > 1 ? "AND" : "OR"
  notification_channels = local.channels
  user_labels           = { alert = each.key }

  dynamic "conditions" {
    for_each = can(each.value.filters) ? [] : [1]
    content {
      display_name = each.value.condition

      dynamic "condition_prometheus_query_language" {
        for_each = try([each.value.query], [])
        content {
          query               = condition_prometheus_query_language.value
          duration            = "${each.value.for}s"
          evaluation_interval = "60s"
          # The first apply creates the metrics too, and the API does not know a new metric immediately.
          disable_metric_validation = true
        }
      }

      dynamic "condition_matched_log" {
        for_each = try([each.value.lines], [])
        content { filter = condition_matched_log.value }
      }
    }
  }

  dynamic "conditions" {
    for_each = try(each.value.filters, [])
    content {
      display_name = each.value.condition
      condition_threshold {
        filter          = conditions.value
        comparison      = "COMPARISON_GT"
        threshold_value = each.value.above
        duration        = "${each.value.for}s"

        dynamic "aggregations" {
          for_each = each.value.period[*]
          content {
            alignment_period     = "${aggregations.value}s"
            per_series_aligner   = "ALIGN_NEXT_OLDER"
            cross_series_reducer = "REDUCE_COUNT_FALSE"
            group_by_fields      = ["resource.label.host"]
          }
        }
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "Progress, ${var.environment}: ${each.value.condition}"
    content = join("\n\n", [
      "**Condition:** ${each.value.condition}",
      local.first_paragraphs[each.key],
      "**Runbook:** ${local.runbook}#${local.sections[each.key]}",
    ])
  }

  # The API requires a limit for an alert on log lines, and refuses one for the others. These repeat the notification
  # every four hours.
  alert_strategy {
    auto_close = "3600s"

    dynamic "notification_rate_limit" {
      for_each = try([each.value.lines], [])
      content { period = "3600s" }
    }
    dynamic "notification_channel_strategy" {
      for_each = can(each.value.lines) || length(local.channels) == 0 ? [] : [1]
      content {
        notification_channel_names = local.channels
        renotify_interval          = "14400s"
      }
    }
  }

  depends_on = [google_project_service.api]
}

output "alerting" {
  description = "Who is told of the alerts, and which alerts are off, also for want of a domain or of instances."
  value = {
    told = join(", ", length(local.channels) == 0 ? ["nobody is told: alert_emails is empty"] : concat(
      var.alert_emails, google_monitoring_notification_channel.other[*].display_name,
    ))
    off = sort(tolist(setsubtract(local.alert_names, local.alerts_on)))
  }
}
