# Parts of the alerts' PromQL queries.

locals {
  bytes_limit = coalesce(
    var.database_bytes_limit,
    var.database == "cloud_sql" ? local.cloud_sql_disk_limit_gb * pow(2, 30) : pow(2, 29),
  )

  services_selector = "monitored_resource=\"cloud_run_revision\""
  jobs_selector     = "monitored_resource=\"cloud_run_job\""
  batch_selector    = "${local.jobs_selector},operation=\"batch\""
  graphql_selector  = "${local.services_selector},operation=~\"query|mutation\""

  # The mean of the batch job's last two measurements.
  batch_mean = {
    for field in [
      "projection_lag", "projection_lag_ms", "dead_letters", "database_connections", "database_bytes",
      "database_ms", "failed_operations", "overdue_operations", "publication_lag_ms",
      "running_operations", "pending_ms", "letter_share",
    ] :
    field => join(" / ", [
      for part in ["sum", "count"] :
      "sum(increase(${local.series[field]}_${part}{${local.jobs_selector}}[${2 * var.batch_minutes}m]))"
    ])
  }

  # Counts of the last five minutes.
  graphql_requests = "sum(increase(${local.series.latency_ms}_count{${local.graphql_selector}}[5m]))"
  cache_results = {
    for name, results in { lookups = "hit|miss|error", hits = "hit", errors = "error" } : name =>
    "sum(increase(${local.series.cache_result}{${local.services_selector},cache_result=~\"${results}\"}[5m]))"
  }

  cache_hit_rate = "(${local.cache_results.hits} or vector(0)) / ${local.cache_results.lookups}"

  # Requests by operation (such as query or ingest) in Progress's log lines, and responses by service as Cloud Run
  # counts them: the lines do not include the requests of a process that died.
  requests = {
    operation = { series = local.series.outcome, all = "", failed = ",outcome=\"error\"" }
    service_name = {
      series = "run_googleapis_com:request_count"
      all    = ",service_name=~\"progress-.*\"", failed = ",service_name=~\"progress-.*\",response_code_class=\"5xx\""
    }
  }
  request_counts = {
    for label, request in local.requests : label => {
      for name, part in {
        all    = { matcher = request.all, minutes = 5 }
        failed = { matcher = request.failed, minutes = 5 }
        recent = { matcher = request.failed, minutes = 3 }
        } : name => join("", [
          "sum by (${label}) (increase(",
          "${request.series}{${local.services_selector}${part.matcher}}[${part.minutes}m]))",
      ])
    }
  }

  # The operations and services that failed within five minutes, and those of them that still failed in the last three.
  # `count` makes one series of them, so that an outage sends one notification, whatever fails.
  failed_requests = {
    for label, counts in local.request_counts : label => join("", [
      "${counts.failed} / ${counts.all} > 0.01 and ${counts.failed} >= ${var.alert_minimum_errors}",
    ])
  }
  still_failed_requests = [
    for label, failed in local.failed_requests : "${failed} and ${local.request_counts[label].recent} > 0"
  ]
  failing       = "count(${join(" or ", values(local.failed_requests))})"
  still_failing = "count(${join(" or ", local.still_failed_requests)})"

  # The age of the oldest message that is not acknowledged, in seconds.
  oldest_message_age = {
    for function in ["ingest", "project"] : function => join("", [
      "max by (subscription_id) (pubsub_googleapis_com:subscription_oldest_unacked_message_age{",
      "monitored_resource=\"pubsub_subscription\",subscription_id=~\"",
      join("|", [for name, subscription in local.push_subscriptions : name if subscription.function == function]),
      "\"})",
    ])
  }

  dead_lettered_messages = join("", [
    "sum by (subscription_id) (pubsub_googleapis_com:subscription_num_undelivered_messages{",
    "monitored_resource=\"pubsub_subscription\",subscription_id=~\"",
    join("|", sort(tolist(local.dead_letter_subscriptions))),
    "\"})",
  ])

  # The number of successful batch runs in the window. Without any runs, the metric either has no values or is zero, so
  # the alert adds `or vector(0)`. The alert also requires a job execution from before the window, so that it does not
  # fire in a new environment. There, the first execution is the release job's, at the end of the first apply. When this
  # execution is older than the window, the schedule has had the time to start three batch runs.
  batch_window = "${local.max_run_minutes}m"
  successful_runs = join("", [
    "sum(increase(${local.series.outcome}",
    "{${local.batch_selector},outcome=\"ok\"}[${local.batch_window}]))",
  ])
  has_old_executions = join("", [
    "count(present_over_time(run_googleapis_com:job_completed_execution_count{",
    "${local.jobs_selector},job_name=~\"progress-.*\"}[1d] offset ${local.batch_window})) > 0",
  ])
}
