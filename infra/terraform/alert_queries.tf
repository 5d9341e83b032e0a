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
      "running_operations",
    ] :
    field => join(" / ", [
      for part in ["sum", "count"] :
      "sum(increase(${local.series[field]}_${part}{${local.jobs_selector}}[${2 * var.batch_minutes}m]))"
    ])
  }

  # Counts of the last five minutes. An operation is a kind of request, such as query or ingest.
  graphql_requests = "sum(increase(${local.series.latency_ms}_count{${local.graphql_selector}}[5m]))"
  cache_results = {
    for name, results in { lookups = "hit|miss|error", misses = "miss|error" } : name =>
    "sum(increase(${local.series.cache_result}{${local.services_selector},cache_result=~\"${results}\"}[5m]))"
  }
  operations = {
    for name, matcher in { all = "", failed = ",outcome=\"error\"" } : name =>
    "sum by (operation) (increase(${local.series.outcome}{${local.services_selector}${matcher}}[5m]))"
  }
  # Responses that Cloud Run counted. Progress's log lines do not include the requests of a process that died.
  responses = {
    for name, matcher in { all = "", failed = ",response_code_class=\"5xx\"" } : name => join("", [
      "sum by (service_name) (increase(run_googleapis_com:request_count{",
      "${local.services_selector},service_name=~\"progress-.*\"${matcher}}[5m]))",
    ])
  }

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

  failed_runs = join("", [
    "sum(increase(${local.series.outcome}",
    "{${local.batch_selector},outcome=\"error\"}[${2 * var.batch_minutes}m]))",
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
