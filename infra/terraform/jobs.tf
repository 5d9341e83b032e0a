# The jobs. They run the image of the functions.

variable "erase_deleted_after_days" {
  description = "The number of days between a learner's deletion and the erasure by the batch job; null: no erasure."
  type        = number
  default     = null

  validation {
    condition     = try(var.erase_deleted_after_days >= 1, var.erase_deleted_after_days == null)
    error_message = "expected at least 1, or null"
  }
}

variable "retention_months" {
  description = "The months without a recorded event after which a learner is announced, then erased; null: never."
  type        = number
  default     = null

  validation {
    condition = try(
      var.retention_months >= 1 && var.retention_months <= 240 && var.publish_events != "off",
      var.retention_months == null
    )
    error_message = "expected 1 to 240 with publish_events milestones or all, or null"
  }
}

locals {
  jobs = {
    # A job waits up to 120 s for the network. A job is retried if its instance died or did not reach the network. A
    # failed migration is not retried (see progress/adapters/postgres/migrations.py), nor an operator's command (see
    # progress/cli/__init__.py).

    # The timeout is under 300 s because a run starts every 5 minutes. If a run is retried, the next run may start
    # before the retry ends. The next run then finds the lock taken, and ends.
    batch = {
      member = "batch", command = ["python", "jobs/batch_aggregates/main.py"]
      cpu    = "1", memory = "1Gi", tasks = 1, timeout = "280s", retries = 3
    }
    # Does the work of `batch` with more resources, after a month's end or an import. While this job runs, each run of
    # `batch` finds the lock taken, and ends.
    batch-large = {
      member = "batch", command = ["python", "jobs/batch_aggregates/main.py"]
      cpu    = "2", memory = "4Gi", tasks = 4, timeout = "3600s", retries = 3
    }
    # Logs in as the owner of the database. Each release executes this job.
    release = {
      member = "release", args = ["migrate"]
      cpu    = "2", memory = "2Gi", tasks = 1, timeout = "10800s", retries = 3
    }
    # Dumps the event store (backups.tf). Only this job logs in with a role that reads the key of the erasures' digests.
    backup = {
      member = "backup", args = ["dump", "--daily"]
      cpu    = "1", memory = "1Gi", tasks = 1, timeout = "3600s", retries = 3
    }
    # Rebuilds the read models from the archive in four processes; an operator executes it (docs/runbook.md). DuckDB
    # uses up to 2 GB of memory in each process. The files and rows of a learner bucket are in memory too, because Cloud
    # Run has no disk.
    rebuild = {
      member = "rebuild", args = ["rebuild", "--from-archive", "--workers", "4"]
      cpu    = "4", memory = "16Gi", tasks = 1, timeout = "86400s", retries = 3
    }
  }

  erasure_settings = {
    for name, value in {
      ERASE_DELETED_AFTER_DAYS = var.erase_deleted_after_days, RETENTION_MONTHS = var.retention_months
    } : name => tostring(value) if value != null
  }
}

# Terraform sets the size, settings and service account of each job; releases set the image.
resource "google_cloud_run_v2_job" "job" {
  for_each = local.jobs

  name                = "progress-${each.key}"
  location            = var.region
  deletion_protection = local.is_prod

  template {
    task_count  = each.value.tasks
    parallelism = each.value.tasks

    template {
      service_account = google_service_account.member[each.value.member].email
      timeout         = each.value.timeout
      max_retries     = each.value.retries

      dynamic "vpc_access" {
        for_each = local.vpc_access[*]
        content {
          egress = vpc_access.value.egress
          network_interfaces {
            network    = vpc_access.value.network
            subnetwork = vpc_access.value.subnetwork
          }
        }
      }

      containers {
        image   = local.image
        command = try(each.value.command, ["python", "-m", "progress.cli"])
        args    = try(each.value.args, [])

        resources { limits = { cpu = each.value.cpu, memory = each.value.memory } }

        dynamic "env" {
          for_each = {
            for name, value in merge(
              local.common_settings, local.database_environment[each.value.member],
              each.key == "batch" ? local.changes_settings : {},
              each.value.member == "batch" ? merge(local.erasure_settings, { TASK_RETRIES = each.value.retries }) : {},
              # `progress erasures apply` publishes what an erasure waits for, in the job `release`.
              contains(["batch", "release"], each.value.member) ? { PUBLISH_EVENTS = var.publish_events } : {},
              contains(["release", "rebuild"], each.value.member) ? local.archive_environment : {},
              each.value.member == "release" ? merge(
                local.exports_environment, local.lag_settings, { SCHEDULER_REGION = var.region }
              ) : {},
              contains(["backup", "release"], each.value.member) ? local.dump_environment : {},
              # Beside DATABASE_URL, it names the instance whose backups `progress doctor` looks at.
              each.value.member == "release" && var.database == "cloud_sql" ? {
                INSTANCE_CONNECTION_NAME = join(":", [
                  var.project_id, var.region, google_sql_database_instance.this[0].name
                ])
              } : {},
            ) : name => value if value != null
          }
          content {
            name  = env.key
            value = env.value
          }
        }

        dynamic "env" {
          for_each = merge(
            local.database_secrets[each.value.member],
            each.value.member == "release" ? local.redis_secrets : {}, # for `progress warm` and `erasures apply`
          )
          content {
            name = env.key
            value_source {
              secret_key_ref {
                secret  = env.value
                version = "latest"
              }
            }
          }
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [ # set by releases, and by each change that gcloud makes
      client, client_version, template[0].annotations, template[0].labels,
      template[0].template[0].containers[0].image, template[0].template[0].containers[0].name,
    ]
  }

  depends_on = [
    google_secret_manager_secret_version.neon_owner, google_secret_manager_secret_version.password,
    google_secret_manager_secret_version.this, terraform_data.grants,
  ]
}

# Migrates the database at the end of the first apply. Later, each release migrates the database. The release job also
# sets the logins' passwords and groups. If the passwords or the logins change, this resource is therefore replaced, and
# executes the job again.
resource "terraform_data" "migrate" {
  triggers_replace = [
    google_cloud_run_v2_job.job["release"].id,
    local.password_version_numbers[local.release_database],
    local.database_groups,
  ]

  provisioner "local-exec" {
    environment = {
      MIGRATE = join(" ", [
        "gcloud run jobs execute ${google_cloud_run_v2_job.job["release"].name} --wait",
        "--region=${var.region} --project=${var.project_id} --quiet",
      ])
    }
    command = "$MIGRATE || { sleep 60; $MIGRATE; }"
  }
}
