# The alerts. Each alert reads the metrics of Progress's log lines (metrics.tf). Some also have conditions on metrics of
# Google Cloud. The text of an alert names the condition, the likely cause, what to do, and a section of the runbook.

variable "alert_emails" {
  description = "The e-mail addresses that get the alerts; without any, nobody is told (see the output `alerting`)."
  type        = list(string)
  default     = []

  validation {
    condition     = var.environment == "dev" || length(var.alert_emails) > 0
    error_message = "expected at least one address in alert_emails for staging and prod"
  }
}

variable "alerts" {
  # Off by default: "cache-hit-rate". It follows from what learners do: studying with an open page, they hit 0 to 10 %.
  description = "The alerts of this environment, by name; the output `alerting` lists the others as off."
  type        = set(string)
  default = [
    "batch-job", "cold-cache", "database-latency", "database-limits", "dead-letters",
    "error-logs", "errors", "event-delay", "letter-bytes", "operations", "pending-events", "projection-lag",
    "publication-lag", "slow-queries",
  ]

  validation {
    condition     = length(setsubtract(var.alerts, local.alert_names)) == 0
    error_message = "expected names of alerts: ${join(", ", local.alert_names)}"
  }
}

variable "alert_minimum_requests" {
  description = "The minimum number of requests in five minutes for alerts on percentages and percentiles to fire."
  type        = number
  default     = 20
}

variable "alert_minimum_errors" {
  description = "The minimum number of errors in five minutes for the alert on errors to fire."
  type        = number
  default     = 3
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
  max_lag_batch_seconds = coalesce(var.max_lag_batch_seconds, 2 * 60 * var.batch_minutes)
  # A run may start late by one interval before an alert says that no run succeeded.
  max_run_minutes = ceil(local.max_lag_batch_seconds / 60) + var.batch_minutes
  # A gauge of the batch job, which measures before it folds what a lost wake-up has left behind.
  max_fold_seconds = var.max_lag_seconds + 60 * var.batch_minutes

  alert_names = concat(keys(local.alerts), ["error-logs"])
  alerts_on   = setsubtract(var.alerts, local.has_memorystore ? [] : ["cold-cache"])

  # An alert fires if a condition is true for `for` seconds. Monitoring counts by the minute, and a five-minute window
  # includes minutes that lie only partly in it. A single high value can therefore keep a condition true for up to six
  # minutes. If the condition's `for` is 360, such a value alone does not fire the alert.
  alerts = {
    "event-delay" = {
      severity = "ERROR"
      title    = "Events are processed late"
      meaning = join(" ", [
        "For ten minutes more than 5 % of the events were recorded, or of the wake-ups folded, over",
        "${var.max_lag_seconds} s after the events' publication, or a message has waited ten minutes for ingest.",
        "Learners see old numbers; events are not lost.",
      ])
      cause = join(" ", [
        "Ingest or project is slow, down or at its maximum number of instances; the database is slow or down; or an",
        "operator holds the pushes.",
      ])
      action = join(" ", [
        "If the pushes are held, snooze this alert. Otherwise check the database, then the log and the instances of",
        "ingest and project.",
      ])
      conditions = {
        # From publication to the realtime read models. A wake-up reports the oldest event that it folded. A cold start
        # is one late wake-up, or a few. After an outage of five minutes, Pub/Sub delivers the last event less than
        # eight minutes after its beginning. Neither keeps the condition true for ten minutes.
        "projection delay, p95 > ${var.max_lag_seconds} s" = {
          query = join("", [
            "histogram_quantile(0.95, sum by (le) (rate(",
            "${local.series.projection_delay_ms}_bucket{${local.services_selector}}[5m])))",
            " > ${1000 * var.max_lag_seconds}",
          ])
          for = 600
        }
        "event delay, p95 > ${var.max_lag_seconds} s" = {
          query = join("", [
            "histogram_quantile(0.95, sum by (le) (rate(",
            "${local.series.event_delay_ms}_bucket{${local.services_selector}}[5m]))) > ${1000 * var.max_lag_seconds}",
          ])
          for = 600
        }
        "a message waits for ingest for more than 10 minutes" = { # a waiting message has no measured delay yet
          query = "${local.oldest_message_age.ingest} > 600"
          for   = 60
        }
      }
    }
    "slow-queries" = {
      severity = "WARNING"
      title    = "GraphQL responses are slow"
      meaning  = "In the last five minutes more than 5 % of the GraphQL requests took over 500 ms."
      cause = join(" ", [
        "A cold or missing cache, a busy database (a rebuild or restore), or the query function at its maximum",
        "number of instances.",
      ])
      action = join(" ", [
        "Check the cache hit rate, then the database's CPU on the dashboard. A rebuild ends by itself.",
        "Otherwise raise max_instances of the query function.",
      ])
      conditions = {
        "GraphQL, p95 > 500 ms" = {
          query = join("", [
            "histogram_quantile(0.95, sum by (le) (rate(",
            "${local.series.latency_ms}_bucket{${local.graphql_selector}}[5m]))) > 500",
            " and ${local.graphql_requests} >= ${var.alert_minimum_requests}",
            " unless on () ${local.failing} > 0", # of an outage, "errors" tells
          ])
          for = 360
        }
      }
    }
    "cold-cache" = {
      severity = "WARNING"
      title    = "The cache does not respond"
      meaning = join(" ", [
        "For 15 minutes more than 30 % of the cache lookups failed. Responses are correct, but the database computes",
        "all of them.",
      ])
      cause  = "Redis is down, is unreachable, or has no free memory."
      action = "Check that the Redis instance is running and has free memory. After an outage, run `progress warm`."
      conditions = {
        "cache errors > 30 %" = {
          query = join("", [
            "${local.cache_results.errors} / ${local.cache_results.lookups} > 0.3",
            " and ${local.cache_results.lookups} >= ${var.alert_minimum_requests}",
          ])
          for = 900
        }
      }
    }
    "cache-hit-rate" = {
      severity = "WARNING"
      title    = "Cache Hit Rate < 70 %"
      meaning  = "For 15 minutes fewer than 70 % of the cache lookups were hits."
      cause = join(" ", [
        "Learners study with an open page, which misses at each answer (docs/decisions.md); or the cache is cold after",
        "a restore, a release or an outage of Redis.",
      ])
      action = "After a restore or an outage, run `progress warm`. If the rate is low on most days, turn the alert off."
      conditions = {
        "cache hit rate < 70 %" = {
          query = "${local.cache_hit_rate} < 0.7 and ${local.cache_results.lookups} >= ${var.alert_minimum_requests}"
          for   = 900
        }
      }
    }
    "errors" = {
      severity = "CRITICAL"
      title    = "Requests fail with server errors"
      meaning = join(" ", [
        "For five minutes more than 1 % of the requests of an operation or service failed. Errors of the caller do",
        "not count.",
      ])
      cause = "A bad release, or a database that does not respond."
      action = join(" ", [
        "If the errors began with a release, roll back. Otherwise check the database, then read the warnings in the",
        "log.",
      ])
      # Pub/Sub repeats failed pushes, and clients their queries. A maintenance of Cloud SQL, of less than a minute, is
      # therefore no reason for a notification: its errors are recent for less than five minutes.
      conditions = {
        "errors > 1 %" = {
          query = "${local.still_failing} > 0"
          for   = 300
        }
      }
    }
    "projection-lag" = {
      severity = "ERROR"
      title    = "Read models are behind the event log"
      meaning  = "Recorded events are not folded into the read models. Learners see old numbers; events are not lost."
      cause    = "The project function is down or too small, one shard is stuck, or somebody imports many events."
      action = join(" ", [
        "Run `progress shards list`. If all shards are behind, run `progress batch` and check the project",
        "function. If only one is behind, follow \"A stuck shard\" in the runbook.",
      ])
      conditions = {
        "more than ${var.max_lag_events} events behind" = {
          query = "${local.batch_mean.projection_lag} > ${var.max_lag_events}"
          for   = 300
        }
        "oldest unfolded event > ${local.max_fold_seconds} s" = {
          query = "${local.batch_mean.projection_lag_ms} > ${1000 * local.max_fold_seconds}"
          for   = 300
        }
        "events waiting at a wake-up, median > ${var.max_lag_events}" = {
          query = join("", [
            "histogram_quantile(0.5, sum by (le) (rate(",
            "${local.series.projection_lag}_bucket{${local.services_selector}}[5m]))) > ${var.max_lag_events}",
          ])
          for = 360
        }
        # While a worker runs a command, Pub/Sub counts the command as unacknowledged, and redelivers it after ten
        # minutes. The limit is therefore longer than ten minutes. An operation may run, or wait, for hours; a running
        # one says nothing about lag, and has a limit of its own (see "operations").
        "a command waits for a worker for more than 15 minutes" = {
          query = "${local.oldest_message_age.project} > 900 unless on () ${local.batch_mean.running_operations} > 0"
          for   = 60
        }
      }
    }
    "publication-lag" = {
      severity = "ERROR"
      title    = "Events and milestones are published late"
      meaning = join(" ", [
        "Milestones, or recorded events, wait to be published on progress-events. Other services learn of them late;",
        "none is lost.",
      ])
      cause  = "Pub/Sub or the project function is down, or the project function may not publish."
      action = "Read the errors of the project function, and fix their cause. The next run publishes the rest."
      conditions = {
        "oldest unpublished > ${local.max_fold_seconds} s" = {
          query = "${local.batch_mean.publication_lag_ms} > ${1000 * local.max_fold_seconds}"
          for   = 300
        }
      }
    }
    "dead-letters" = {
      severity = "WARNING"
      title    = "There are dead letters"
      meaning = join(" ", [
        "Some messages are not valid events, cannot be folded or could not be delivered. Each message is kept",
        "until it is replayed or discarded.",
      ])
      cause  = "A publisher sends malformed events, or an outage lasted longer than Pub/Sub's retries."
      action = "Run `progress dead-letters count` and `list`. Fix the cause, then replay or discard the dead letters."
      conditions = {
        "dead letters neither replayed nor discarded" = {
          query = "${local.batch_mean.dead_letters} > 0"
          for   = 0
        }
        "messages in Pub/Sub's dead-letter subscriptions" = {
          query = "${local.dead_lettered_messages} > 0"
          for   = 0
        }
      }
    }
    "letter-bytes" = {
      severity = "WARNING"
      title    = "Dead letters take half of the space that they may have"
      meaning = join(" ", [
        "At 100 MiB of one sender, or 1 GiB of all, ingest refuses each message that would add dead letters.",
        "Pub/Sub repeats it.",
      ])
      cause  = "A publisher sends malformed events, and nobody replays or discards them."
      action = "Find the sender with `progress dead-letters list --json`. Fix the cause, then discard with `--poster`."
      conditions = {
        "share of the bytes > 0.5" = {
          query = "${local.batch_mean.letter_share} > 0.5"
          for   = 0
        }
      }
    }
    "pending-events" = {
      severity = "WARNING"
      title    = "An event has waited for its session for a day"
      meaning = join(" ", [
        "Events that name no learner wait for the start of their session, and count nowhere until it arrives.",
      ])
      cause  = "An app lost the SessionStarted, or sends another session_id with its answers."
      action = "Find the app by the type and the session of the oldest events, and let it send the start again."
      conditions = {
        "oldest pending event > 1 day" = {
          query = "${local.batch_mean.pending_ms} > ${1000 * 86400}"
          for   = 0
        }
      }
    }
    "batch-job" = {
      severity = "ERROR"
      title    = "The batch job or the backup failed, or no batch run succeeded"
      meaning = join(" ", [
        "A batch run or backup failed, or no batch run has succeeded for ${local.max_run_minutes} minutes.",
        "The weekly, level and domain numbers become out of date and shards whose wake-up was lost are not",
        "folded, or there is no recent backup.",
      ])
      cause = "The schedule is paused, the database is down, or a run exceeded its timeout or memory."
      action = join(" ", [
        "Run `progress schedule list`. If the schedule is paused on purpose, snooze this alert. Otherwise",
        "read the job's log and run it again.",
      ])
      conditions = {
        "no successful batch run for ${local.max_run_minutes} minutes" = {
          query = "(${local.successful_runs} or vector(0)) == 0 and ${local.has_old_executions}"
          for   = 60
        }
        "a job execution failed (Cloud Run)" = { # its last attempt; no line of Progress tells of a job that died
          query = join("", [
            "sum by (job_name) (increase(run_googleapis_com:job_completed_execution_count{",
            "${local.jobs_selector},job_name=~\"progress-batch.*|progress-backup\",result=\"failed\"}[10m])) > 0",
          ])
          for = 0
        }
      }
    }
    "operations" = {
      severity = "ERROR"
      title    = "An operation failed, or does not end"
      meaning = join(" ", [
        "An operation failed or timed out within the last hour, or is unfinished an hour after its start (an",
        "erasure: 24 hours). Its task is not done.",
      ])
      cause = "An outage of the database or of a bucket, too much work for one step, or a fault in the code."
      action = join(" ", [
        "Run `progress operations list` and `show` the operation: its steps name the error. Fix the cause, then",
        "`retry` the operation, or start it again.",
      ])
      conditions = {
        "an operation failed or timed out" = {
          query = "${local.batch_mean.failed_operations} > 0"
          for   = 0
        }
        "an operation is unfinished for too long" = {
          query = "${local.batch_mean.overdue_operations} > 0"
          for   = 0
        }
      }
    }
    "database-latency" = {
      severity = "WARNING"
      title    = "The database responds slowly"
      meaning = join(" ", [
        "The mean of the batch job's last two measurements of a round trip to the database is over",
        "${var.max_database_ms} ms. Each query and each event needs several round trips.",
      ])
      cause = "The database is overloaded, in another region than the functions, or reached over a slow route."
      action = join(" ", [
        "Check the database's CPU. On Neon, if this lasts, or if connections fail because of IPv6 or SSL, move to",
        "Cloud SQL: the runbook states when.",
      ])
      conditions = {
        "round trip to the database > ${var.max_database_ms} ms" = {
          query = "${local.batch_mean.database_ms} > ${var.max_database_ms}"
          for   = 300
        }
      }
    }
    "database-limits" = {
      severity = "ERROR"
      title    = "The database is near its limits"
      meaning = join(" ", [
        "The database uses more than 80 % of its connections or of its size. At the connection limit, requests",
        "wait and fail; at the size limit, events cannot be recorded.",
      ])
      cause = "Too many instances for the database's size, or the growth of the event log."
      action = join(" ", [
        "Connections: lower max_instances of the query function or choose a larger cloud_sql_tier. Size: raise",
        "cloud_sql_disk_limit_gb, or change Neon's plan.",
      ])
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

  # The API does not delete a channel to which a policy still refers. Terraform therefore changes the policies first.
  lifecycle {
    create_before_destroy = true
  }

  depends_on = [google_project_service.api]
}

# A policy for each condition, because a policy with PromQL may have only one condition. The label `alert` groups the
# policies of an alert.
resource "google_monitoring_alert_policy" "alert" {
  for_each = merge([
    for name in setintersection(local.alerts_on, keys(local.alerts)) : {
      for title, condition in local.alerts[name].conditions :
      "${name}: ${title}" => merge(local.alerts[name], condition, { name = name, condition = title })
    }
  ]...)

  display_name          = "Progress, ${var.environment}: ${each.value.title} (${each.value.condition})"
  severity              = each.value.severity
  combiner              = "OR"
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]
  user_labels           = { alert = each.value.name }

  conditions {
    display_name = each.value.condition
    condition_prometheus_query_language {
      query               = each.value.query
      duration            = "${each.value.for}s"
      evaluation_interval = "60s"
      # The first apply creates the metrics too, and the API does not know a new metric immediately.
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "Progress, ${var.environment}: ${each.value.title}"
    content = join("\n\n", [
      "**Condition:** ${each.value.meaning}",
      "**Likely cause:** ${each.value.cause}",
      "**What to do:** ${each.value.action}",
      "**Runbook:** ${local.runbook}#${each.value.name}",
    ])
  }

  alert_strategy {
    auto_close = "3600s"

    # Repeat the notification every four hours. (The API's `notification_rate_limit` is only for log-based alerts.)
    dynamic "notification_channel_strategy" {
      for_each = length(var.alert_emails) > 0 ? [1] : []
      content {
        notification_channel_names = [for channel in google_monitoring_notification_channel.email : channel.id]
        renotify_interval          = "14400s"
      }
    }
  }

  depends_on = [google_project_service.api]
}

# Each error in a log, also those of the platform: a failed request, an instance that does not start, a failed schedule.
# Cloud Run writes such a line for each response 503, too. It asks the caller to repeat the request, as Pub/Sub does;
# the alert "errors" counts it.
resource "google_monitoring_alert_policy" "error_logs" {
  count = contains(var.alerts, "error-logs") ? 1 : 0

  display_name          = "Progress, ${var.environment}: an error was logged"
  severity              = "ERROR"
  combiner              = "OR"
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]
  user_labels           = { alert = "error-logs" }

  conditions {
    display_name = "a log line of severity ERROR or higher"
    condition_matched_log {
      filter = join(" AND ", [
        "severity>=ERROR",
        "NOT httpRequest.status=503",
        join("", [
          "(resource.labels.service_name=~\"^progress-\" OR resource.labels.job_name=~\"^progress-\"",
          " OR resource.labels.job_id=~\"^progress-\")",
        ]),
      ])
    }
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "Progress, ${var.environment}: an error was logged"
    content = join("\n\n", [
      "**Condition:** a function, a job or a schedule wrote a log line of severity ERROR or higher.",
      "**Likely cause:** a defect, or an outage of the database, of Redis or of Google Cloud.",
      "**What to do:** read the line and those around it. If many requests fail, the alert \"errors\" fires, too.",
      "**Runbook:** ${local.runbook}#error-logs",
    ])
  }

  # The API requires a limit for an alert on log lines.
  alert_strategy {
    auto_close = "3600s"
    notification_rate_limit {
      period = "3600s"
    }
  }

  depends_on = [google_project_service.api]
}

output "alerting" {
  description = "Who is told of the alerts, and which alerts are off, also those that need Redis or a domain."
  value = {
    told = length(var.alert_emails) > 0 ? join(", ", var.alert_emails) : "nobody is told: alert_emails is empty"
    off = sort(concat(
      tolist(setsubtract(local.alert_names, local.alerts_on)),
      var.domain == null ? ["uptime"] : [],
    ))
  }
}
