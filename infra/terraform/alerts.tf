# What is told to whom, and when. Each alert reads our own log lines, by the metrics of metrics.tf; what the platform
# measures is a further condition. The documentation of each names the section of the runbook to follow.

variable "github" {
  description = "The repository and its branch, whose runbook an alert links to."
  type = object({
    repository = string # owner/name
    branch     = optional(string, "main")
  })
}

variable "alert_emails" {
  description = "Who is told."
  type        = list(string)
  default     = []

  validation {
    condition     = var.environment != "prod" || length(var.alert_emails) > 0
    error_message = "Somebody must be told of production's alerts: say whom in alert_emails."
  }
}

variable "alerts" {
  description = "Which alerts this environment has."
  type        = set(string)
  default = [
    "batch-job", "cold-cache", "database-limits", "dead-letters", "errors", "event-delay", "projection-lag", "slow-queries",
  ]

  validation {
    condition     = length(setsubtract(var.alerts, keys(local.alerts))) == 0
    error_message = "expected names of alerts.tf: ${join(", ", keys(local.alerts))}"
  }
}

variable "alert_minimum_requests" {
  description = "A share or a percentile of fewer requests than this in five minutes says nothing."
  type        = number
  default     = 20
}

variable "alert_minimum_errors" {
  description = "Fewer errors than this in five minutes are chance, however many requests there were."
  type        = number
  default     = 3
}

variable "database_bytes_limit" {
  description = "What the database may grow to; null: Cloud SQL's disk as it was made, or Neon's free plan."
  type        = number
  default     = null
}

locals {
  runbook = "https://github.com/${var.github.repository}/blob/${var.github.branch}/docs/runbook.md"

  bytes_limit = coalesce(var.database_bytes_limit, var.database == "cloud_sql" ? local.cloud_sql_size.disk_gb * pow(2, 30) : pow(2, 29))

  of_services = "monitored_resource=\"cloud_run_revision\""
  of_jobs     = "monitored_resource=\"cloud_run_job\""
  of_batch    = "${local.of_jobs},operation=\"batch\""
  of_graphql  = "${local.of_services},operation=~\"query|mutation\""

  # The mean of the batch job's last two looks.
  batch_mean = {
    for field in ["projection_lag", "projection_lag_ms", "dead_letters", "database_connections", "database_bytes"] :
    field => join(" / ", [
      for part in ["sum", "count"] : "sum(increase(${local.series[field]}_${part}{${local.of_jobs}}[${2 * var.batch_minutes}m]))"
    ])
  }

  asked    = "sum(increase(${local.series.latency_ms}_count{${local.of_graphql}}[5m]))"
  looked   = "sum(increase(${local.series.cache_result}{${local.of_services},cache_result=~\"hit|miss|error\"}[5m]))"
  computed = "sum(increase(${local.series.cache_result}{${local.of_services},cache_result=~\"miss|error\"}[5m]))"
  done     = "sum by (operation) (increase(${local.series.outcome}{${local.of_services}}[5m]))"
  failed   = "sum by (operation) (increase(${local.series.outcome}{${local.of_services},outcome=\"error\"}[5m]))"

  # The same as Cloud Run counts it.
  answered = {
    for which, class in { all = "", bad = ",response_code_class=\"5xx\"" } : which =>
    "sum by (service_name) (increase(run_googleapis_com:request_count{${local.of_services},service_name=~\"progress-.*\"${class}}[5m]))"
  }

  # How old the oldest message is that was not taken yet, in seconds.
  waited = {
    for function in ["ingest", "project"] : function => join("", [
      "max by (subscription_id) (pubsub_googleapis_com:subscription_oldest_unacked_message_age{monitored_resource=\"pubsub_subscription\",subscription_id=~\"",
      join("|", [for subscription, pushed in local.pushed : subscription if pushed.function == function]),
      "\"})",
    ])
  }

  # `for`: so long must it be true, in seconds. A single value is in a window of five minutes for up to six: the minute that
  # it was counted in lies partly within.
  alerts = {
    "event-delay" = {
      severity = "ERROR"
      title    = "Events are recorded late"
      meaning  = "Of the last five minutes' events, one in twenty was recorded more than 5 s after its publication."
      conditions = {
        "event delay, p95 > 5 s" = {
          query = "histogram_quantile(0.95, sum by (le) (rate(${local.series.event_delay_ms}_bucket{${local.of_services}}[5m]))) > 5000"
          for   = 360
        }
        "messages wait for ingest for more than five minutes" = { # what is not recorded at all has no delay
          query = "${local.waited.ingest} > 300"
          for   = 60
        }
      }
    }
    "slow-queries" = {
      severity = "WARNING"
      title    = "GraphQL answers slowly"
      meaning  = "Of the last five minutes' requests, one in twenty took more than 500 ms."
      conditions = {
        "GraphQL, p95 > 500 ms" = {
          query = "histogram_quantile(0.95, sum by (le) (rate(${local.series.latency_ms}_bucket{${local.of_graphql}}[5m]))) > 500 and ${local.asked} >= ${var.alert_minimum_requests}"
          for   = 360
        }
      }
    }
    "cold-cache" = {
      severity = "WARNING"
      title    = "Few answers come from the cache"
      meaning  = "Of the look-ups in the last five minutes, fewer than 70 % found an answer; the database computes the rest."
      conditions = {
        "cache hits < 70 %" = {
          query = "1 - ${local.computed} / ${local.looked} < 0.7 and ${local.looked} >= ${var.alert_minimum_requests}"
          for   = 900
        }
      }
    }
    "errors" = {
      severity = "CRITICAL"
      title    = "Requests fail by our fault"
      meaning  = "Of one kind of work, more than 1 % failed in the last five minutes. A caller's own mistake does not count."
      conditions = {
        "errors > 1 %" = {
          query = "${local.failed} / ${local.done} > 0.01 and ${local.failed} >= ${var.alert_minimum_errors}"
          for   = 60
        }
        "answers 5xx, as Cloud Run counts them, > 1 %" = { # a process that dies writes no line
          query = "${local.answered.bad} / ${local.answered.all} > 0.01 and ${local.answered.bad} >= ${var.alert_minimum_errors}"
          for   = 60
        }
      }
    }
    "projection-lag" = {
      severity = "ERROR"
      title    = "Read models are behind the event log"
      meaning  = "Recorded events are not folded: learners see numbers of before."
      conditions = {
        "more than 1,000 events behind" = {
          query = "${local.batch_mean.projection_lag} > 1000"
          for   = 300
        }
        "the oldest event not folded is more than five minutes old" = {
          query = "${local.batch_mean.projection_lag_ms} > 300000"
          for   = 300
        }
        "half of the wake-ups find more than 1,000 events" = {
          query = "histogram_quantile(0.5, sum by (le) (rate(${local.series.projection_lag}_bucket{${local.of_services}}[5m]))) > 1000"
          for   = 360
        }
        "commands wait for a worker for more than 15 minutes" = { # a worker that is at one for long lets it be asked again after ten
          query = "${local.waited.project} > 900"
          for   = 60
        }
      }
    }
    "dead-letters" = {
      severity = "WARNING"
      title    = "There are dead letters"
      meaning  = "Messages were no events, or could not be delivered. Nothing is lost: each waits to be replayed or discarded."
      conditions = {
        "letters neither replayed nor discarded" = {
          query = "${local.batch_mean.dead_letters} > 0"
          for   = 0
        }
        "messages that Pub/Sub gave up on" = {
          query = "sum by (subscription_id) (pubsub_googleapis_com:subscription_num_undelivered_messages{monitored_resource=\"pubsub_subscription\",subscription_id=~\"${join("|", sort(tolist(local.dead_letter_subscriptions)))}\"}) > 0"
          for   = 0
        }
      }
    }
    "batch-job" = {
      severity = "ERROR"
      title    = "The batch job failed or is late, or the backup failed"
      meaning  = "Weekly, level and domain numbers grow old, and lost wake-ups are not found; or the read models are not backed up. Snooze this while the schedule is paused."
      conditions = {
        "a run failed" = {
          query = "sum(increase(${local.series.outcome}{${local.of_batch},outcome=\"error\"}[${2 * var.batch_minutes}m])) > 0"
          for   = 0
        }
        "no run ended well for ${3 * var.batch_minutes} minutes" = {
          # Whether nothing is written where nothing is counted, or zeros. The first apply ends with a run of the release
          # job: before a job's run is that old, the schedule had no time to start three.
          query = "(sum(increase(${local.series.outcome}{${local.of_batch},outcome=\"ok\"}[${3 * var.batch_minutes}m])) or vector(0)) == 0 and count(present_over_time(run_googleapis_com:job_completed_execution_count{${local.of_jobs},job_name=~\"progress-.*\"}[1d] offset ${3 * var.batch_minutes}m)) > 0"
          for   = 60
        }
        "an execution failed, as Cloud Run counts them" = { # it may have died without a line; the backup writes none
          query = "sum by (job_name) (increase(run_googleapis_com:job_completed_execution_count{${local.of_jobs},job_name=~\"progress-batch.*|progress-backup\",result=\"failed\"}[10m])) > 0"
          for   = 0
        }
      }
    }
    "database-limits" = {
      severity = "ERROR"
      title    = "The database is near its limits"
      meaning  = "At the limit of connections functions wait and fail; at that of its size nothing is recorded."
      conditions = {
        "connections > 80 %" = {
          query = "${local.batch_mean.database_connections} > 0.8"
          for   = 300
        }
        "size > 80 %" = {
          query = "${local.batch_mean.database_bytes} > ${floor(local.bytes_limit * 0.8)}"
          for   = 300
        }
      }
    }
  }
}

resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.alert_emails)

  display_name = each.value
  type         = "email"
  labels       = { email_address = each.value }

  depends_on = [google_project_service.api]
}

module "alert" {
  for_each = var.alerts
  source   = "./modules/alert"

  name        = each.key
  environment = var.environment
  alert       = local.alerts[each.key]
  channels    = [for channel in google_monitoring_notification_channel.email : channel.id]
  runbook     = local.runbook

  depends_on = [google_project_service.api]
}
