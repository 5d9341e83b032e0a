# A backup every six hours. Cloud SQL makes it by itself, when Cloud Scheduler calls its API. Of a log in Neon, the job
# `progress-backup` makes a dump, if the last one is 20 hours old. With dump_copy, it also does so of Cloud SQL.

variable "dump_copy" {
  # The owner lets the accounts create and list objects, and neither read, replace nor delete them
  # (infra/recovery/copies). Whoever may change this bucket's rights can delete the copies, so Terraform does not.
  description = "A bucket of another owner, project and region for a copy of each dump; null: no copies."
  type        = string
  default     = null

  validation {
    condition     = var.dump_copy == null || !startswith(coalesce(var.dump_copy, " "), var.project_id)
    error_message = "expected the name of a bucket that belongs to another project"
  }
}

locals {
  backup_days = 7 # a backup without an expiry would stay for ever, with the learners who are erased since

  # Dumps: seven, and one a month for a year. The job removes the others; the bucket's rule deletes what no job removes.
  dump_days = local.has_neon ? 367 : local.backup_days
  dump_environment = merge(
    local.has_neon || var.dump_copy != null ? { DUMP_TO = "gs://${google_storage_bucket.backup.name}/log" } : {},
    var.dump_copy != null ? { DUMP_COPY_TO = "gs://${var.dump_copy}/${var.project_id}" } : {},
  )

  backup_call = {
    neon = {
      uri  = "${local.run_api}/jobs/${google_cloud_run_v2_job.job["backup"].name}:run"
      body = null
    }
    cloud_sql = {
      uri = "https://sqladmin.googleapis.com/v1/projects/${var.project_id}/backups"
      body = base64encode(jsonencode({
        instance    = one(google_sql_database_instance.this[*].name)
        description = "Every six hours"
        ttlDays     = tostring(local.backup_days)
      }))
    }
  }[var.database]
}

resource "google_cloud_scheduler_job" "backup" {
  name             = "progress-backup"
  description      = "Backup of the database; of a log in Neon, a dump once a day"
  region           = var.region
  schedule         = "0 */6 * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "60s"

  retry_config { # while another operation changes the instance, the API refuses a backup
    retry_count          = 3
    min_backoff_duration = "600s"
  }

  http_target {
    http_method = "POST"
    uri         = local.backup_call.uri
    headers     = local.backup_call.body == null ? {} : { "Content-Type" = "application/json" }
    body        = local.backup_call.body
    oauth_token { service_account_email = google_service_account.member["backup-scheduler"].email }
  }

  lifecycle { ignore_changes = [paused] }

  depends_on = [
    google_cloud_run_v2_job_iam_member.backup_scheduler, google_project_iam_member.backup_scheduler,
    terraform_data.migrate,
  ]
}

# The schedule's account may create backups of Cloud SQL, or start the job, and nothing else.
resource "google_project_iam_member" "backup_scheduler" {
  count = var.database == "cloud_sql" ? 1 : 0

  project = var.project_id
  role    = local.custom_roles.backups
  member  = google_service_account.member["backup-scheduler"].member
}

resource "google_cloud_run_v2_job_iam_member" "backup_scheduler" {
  count = var.database == "neon" ? 1 : 0

  name     = google_cloud_run_v2_job.job["backup"].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.member["backup-scheduler"].member
}
