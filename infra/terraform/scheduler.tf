# Scheduled calls. Terraform does not resume a schedule that `progress schedule pause` paused.

variable "night" {
  description = "The night's hours, and each function's minimum number of instances at night; null: no change."
  type = object({
    time_zone     = string
    evening       = string # cron
    morning       = string
    min_instances = map(number)
  })
  default = null

  validation {
    condition     = length(setsubtract(keys(try(var.night.min_instances, {})), keys(var.functions))) == 0
    error_message = "expected names of functions in night.min_instances: ${join(", ", keys(var.functions))}"
  }

  validation {
    condition = alltrue([
      for name, count in try(var.night.min_instances, {}) :
      count >= 0 && count <= try(var.functions[name].min_instances, count)
    ])
    error_message = "expected each number in night.min_instances to be from 0 to the function's min_instances"
  }
}

variable "batch_minutes" {
  # Each run is billed for at least a minute. With one run every 15 minutes, the job stays within the free amount.
  description = "The minutes from one run of the batch job to the next."
  type        = number
  default     = 5

  validation {
    condition     = contains([5, 10, 15, 20, 30], var.batch_minutes)
    error_message = "expected 5, 10, 15, 20 or 30"
  }
}

locals {
  run_api = "https://run.googleapis.com/v2/projects/${var.project_id}/locations/${var.region}"

  # The job `batch-large` runs after the end of each month. With batch_on_demand, it runs once a day instead, when the
  # dump wakes the database anyway. This daily run does not check for changes first, so it also handles lost wake-ups
  # and future-dated events that have become due.
  large_cron = var.batch_on_demand ? "0 6 * * *" : "15 0 1 * *"

  batch_cron = "*/${var.batch_minutes} * * * *"

  job_schedules = merge({
    batch       = { cron = local.batch_cron, description = "Folds lagging shards and batch models, replays due events" }
    batch-large = { cron = local.large_cron, description = "Runs the large batch job even if nothing has changed" }
    }, var.dump_copy == null || var.database == "neon" ? {} : {
    dump = { job = "backup", cron = "30 */6 * * *", description = "Dumps Cloud SQL once a day, and copies the dump" }
  })

  # The scheduled changes of minimum instances. The keys are names of schedules, such as "evening-query".
  night_changes = merge([for name, count in try(var.night.min_instances, {}) : {
    "evening-${name}" = { cron = var.night.evening, function = name, min_instances = count }
    "morning-${name}" = { cron = var.night.morning, function = name, min_instances = var.functions[name].min_instances }
  }]...)
}

resource "google_cloud_scheduler_job" "run" {
  for_each = local.job_schedules

  name             = "progress-${each.key}"
  description      = each.value.description
  region           = var.region
  schedule         = each.value.cron
  time_zone        = "Etc/UTC"
  attempt_deadline = "60s" # the call starts the job and does not wait for it

  http_target {
    http_method = "POST"
    uri         = "${local.run_api}/jobs/${google_cloud_run_v2_job.job[try(each.value.job, each.key)].name}:run"
    oauth_token { service_account_email = google_service_account.member["scheduler"].email }
  }

  lifecycle { ignore_changes = [paused] }

  # Before the first migration, the jobs would only fail and fire alerts.
  depends_on = [google_cloud_run_v2_job_iam_member.scheduler, terraform_data.migrate]
}

# Changes the minimum number of instances of the service, not of a revision, so that no new revision is created.
resource "google_cloud_scheduler_job" "night" {
  for_each = local.night_changes

  name             = "progress-${each.key}"
  description      = "Sets the minimum instances of the ${each.value.function} function to ${each.value.min_instances}"
  region           = var.region
  schedule         = each.value.cron
  time_zone        = var.night.time_zone
  attempt_deadline = "60s"

  retry_config { retry_count = 3 }

  http_target {
    http_method = "PATCH"
    uri = join("", [
      "${local.run_api}/services/${google_cloud_run_v2_service.function[each.value.function].name}",
      "?updateMask=scaling.minInstanceCount",
    ])
    headers = { "Content-Type" = "application/json" }
    body    = base64encode(jsonencode({ scaling = { minInstanceCount = each.value.min_instances } }))
    oauth_token { service_account_email = google_service_account.member["scheduler"].email }
  }

  lifecycle { ignore_changes = [paused] }

  depends_on = [
    google_cloud_run_v2_service_iam_member.scheduler, google_service_account_iam_member.impersonation,
    terraform_data.migrate,
  ]
}
