# Parts of the alerts' PromQL queries.

locals {
  max_lag_batch_seconds = coalesce(var.max_lag_batch_seconds, 2 * 60 * var.batch_minutes)
  # A run may start late by one interval before an alert says that no run succeeded.
  max_run_minutes = ceil(local.max_lag_batch_seconds / 60) + var.batch_minutes
  # A gauge of the batch job, which measures before it folds what a lost wake-up has left behind.
  max_fold_seconds = var.max_lag_seconds + 60 * var.batch_minutes

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

  p95 = {
    for field, selector in {
      projection_delay_ms = local.services_selector
      event_delay_ms      = local.services_selector
      latency_ms          = local.graphql_selector
    } : field => "histogram_quantile(0.95, sum by (le) (rate(${local.series[field]}_bucket{${selector}}[5m])))"
  }
  p50_projection_lag = join("", [
    "histogram_quantile(0.5, sum by (le) (rate(",
    "${local.series.projection_lag}_bucket{${local.services_selector}}[5m])))",
  ])

  # Posts of the last five minutes that found more than half of the day's entries posted.
  posts_over_half = join(" - ", [
    for series in ["count{${local.services_selector}", "bucket{${local.services_selector},le=\"0.5\""] :
    "sum(increase(${local.series.learner_share}_${series}}[5m]))"
  ])

  # Counts of the last five minutes.
  graphql_requests = "sum(increase(${local.series.latency_ms}_count{${local.graphql_selector}}[5m]))"
  cache_results = {
    for name, results in { lookups = "hit|miss|error", hits = "hit" } : name =>
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
  failed_requests = {
    for label, counts in local.request_counts : label => join("", [
      "${counts.failed} / ${counts.all} > 0.01 and ${counts.failed} >= 3",
    ])
  }
  still_failed_requests = [
    for label, failed in local.failed_requests : "${failed} and ${local.request_counts[label].recent} > 0"
  ]

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

  cloud_sql_series = {
    for metric in ["cpu_utilization", "memory_utilization", "disk_bytes_used", "auto_failover_request_count"] :
    metric => join("", [
      "cloudsql_googleapis_com:database_${metric}{monitored_resource=\"cloudsql_database\",",
      "database_id=\"${var.project_id}:progress\"}",
    ])
  }

  # A run or a dump is missing. Without any, the metric either has no values or is zero, hence `or vector(0)`. Some job
  # must have run in the week before the window, so that a new environment does not fire: there, the first execution is
  # the release job's, at the end of the first apply. When it is older than the window, the schedule had the time for
  # three runs. In production, no other job may run: a shorter time would end the alert while the batch job stands
  # still.
  executions   = "run_googleapis_com:job_completed_execution_count{${local.jobs_selector},job_name"
  batch_window = "${local.max_run_minutes}m"
  has_executed = {
    for window in [local.batch_window, "25h"] : window =>
    "count(present_over_time(${local.executions}=~\"progress-.*\"}[7d] offset ${window})) > 0"
  }
  missing_run = join(" ", [
    "(sum(increase(${local.series.outcome}{${local.batch_selector},outcome=\"ok\"}[${local.batch_window}]))",
    "or vector(0)) == 0 and ${local.has_executed[local.batch_window]}",
  ])
  # Cloud SQL makes its backups without the job.
  dump_jobs = var.database == "neon" || var.dump_copy != null ? ["progress-backup"] : []
  missing_dumps = [
    for job in local.dump_jobs : join(" ", [
      "(sum(increase(${local.executions}=\"${job}\",result=\"succeeded\"}[25h])) or vector(0)) == 0",
      "and ${local.has_executed["25h"]}",
    ])
  ]
  failed_execution = join("", [
    "sum by (job_name) (increase(${local.executions}=~\"${join("|", concat(["progress-batch.*"], local.dump_jobs))}\",",
    "result=\"failed\"}[10m])) > 0",
  ])
}
