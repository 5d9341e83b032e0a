# The custom roles of each environment's project. infra/terraform grants the roles whose ids begin with `progress`. It
# does not create them, because Google keeps a deleted role for 7 days and its id for up to 30 more: an environment that
# was destroyed could not be applied again in this time. A role that is granted to nobody has no effect.

locals {
  custom_roles = {
    # Google's roles grant these permissions only together with access to contents. This role grants the permissions
    # alone: the account can read log-based metrics but no logs, and buckets but no objects.
    terraformPlan = {
      title = "Terraform: read resources without their contents"
      permissions = [
        "bigquery.connections.get",
        "logging.logMetrics.get", "logging.logMetrics.list",
        "redis.instances.getAuthString", # the provider reads an instance's password too, and writes it to the state
        "servicenetworking.services.get",
        "storage.buckets.get", "storage.buckets.list",
      ]
    }

    # The query function signs the URLs of exported files in its own name.
    progressSigning = {
      title       = "Progress: sign data as a service account"
      permissions = ["iam.serviceAccounts.signBlob"]
    }

    # The query function and the job `release` read the number of undelivered messages, and the states of schedules and
    # backups.
    progressMeasurements = {
      title       = "Progress: read measurements of Cloud Monitoring, schedules and backups"
      permissions = ["cloudscheduler.jobs.list", "cloudsql.backupRuns.list", "monitoring.timeSeries.list"]
    }

    # Cloud Scheduler creates backups of Cloud SQL.
    progressBackups = {
      title       = "Progress: create backups of Cloud SQL"
      permissions = ["cloudsql.backupRuns.create"]
    }

    # Cloud Scheduler changes the functions' minimum numbers of instances in the evening and the morning.
    progressScaling = {
      title       = "Progress: change a service's minimum number of instances"
      permissions = ["run.services.get", "run.services.update"]
    }
  }
}

resource "google_project_iam_custom_role" "this" {
  for_each = merge([
    for environment in keys(local.environments) : {
      for id, role in local.custom_roles : "${environment}/${id}" => merge(role, { environment = environment, id = id })
      if id != "terraformPlan" || var.github != null
    }
  ]...)

  project     = google_project.this[each.value.environment].project_id
  role_id     = each.value.id
  title       = each.value.title
  permissions = each.value.permissions

  lifecycle { prevent_destroy = true }

  depends_on = [google_project_service.first]
}
