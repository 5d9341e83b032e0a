# What runs to its end: the jobs, in the image of `project`, which has all of the code.

locals {
  # The buildpack's launcher finds the image's Python; the code lies in /workspace.
  launcher = ["/cnb/lifecycle/launcher", "--"]

  jobs = {
    # A job waits up to 120 s for the network, and is tried again where its instance died or never got one. A migration that
    # was refused is not tried again: progress/migrations.py.

    # Under 300 s: the next run begins after five minutes; where a second try is still at work, it finds the lock taken.
    batch = { member = "batch", command = ["python", "jobs/batch_aggregates/main.py"], args = [], cpu = "1", memory = "1Gi", tasks = 1, timeout = "280s", retries = 1 }
    # A month's end, or after an import: the same with more of everything; meanwhile the small one finds the lock taken.
    batch-large = { member = "batch", command = ["python", "jobs/batch_aggregates/main.py"], args = [], cpu = "2", memory = "4Gi", tasks = 4, timeout = "3600s", retries = 1 }
    # As the database's owner; before each release.
    release = { member = "release", command = ["python", "-m", "progress.cli"], args = ["migrate"], cpu = "2", memory = "2Gi", tasks = 1, timeout = "10800s", retries = 1 }
    backup  = { member = "backup", command = ["python", "-m", "progress.cli", "backup"], args = [local.backup_location], cpu = "1", memory = "1Gi", tasks = 1, timeout = "3600s", retries = 3 }
  }

  job_environment = {
    for name, job in local.jobs : name => {
      for variable, value in merge(
        local.common_settings, local.database_environment[job.member], { PYTHONPATH = "/workspace" },
        name == "batch" ? local.changes_settings : {},
      ) : variable => value if value != null
    }
  }

  job_secrets = {
    for name, job in local.jobs : name => merge(
      local.database_secrets[job.member], job.member == "backup" ? {} : local.redis_secrets
    )
  }
}

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

      vpc_access {
        egress = local.vpc_access.egress
        network_interfaces {
          network    = local.vpc_access.network
          subnetwork = local.vpc_access.subnetwork
        }
      }

      containers {
        image   = google_cloud_run_v2_service.function["project"].template[0].containers[0].image
        command = concat(local.launcher, each.value.command)
        args    = each.value.args

        resources {
          limits = { cpu = each.value.cpu, memory = each.value.memory }
        }

        dynamic "env" {
          for_each = local.job_environment[each.key]
          content {
            name  = env.key
            value = env.value
          }
        }

        dynamic "env" {
          for_each = local.job_secrets[each.key]
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
    ignore_changes = [
      # The pipeline's, and the marks that gcloud leaves on whatever it changes.
      client,
      client_version,
      template[0].annotations,
      template[0].labels,
      template[0].template[0].containers[0].image,
      template[0].template[0].containers[0].name,
    ]
  }

  depends_on = [
    google_project_iam_member.member,
    google_secret_manager_secret_iam_member.accessor,
    google_secret_manager_secret_version.neon_owner,
    google_secret_manager_secret_version.this,
  ]
}

# The database is migrated once by itself, when all that it takes is there; then by each release.
resource "terraform_data" "migrated" {
  triggers_replace = google_cloud_run_v2_job.job["release"].id

  provisioner "local-exec" {
    environment = {
      MIGRATE = "gcloud run jobs execute ${google_cloud_run_v2_job.job["release"].name} --wait --region=${var.region} --project=${var.project_id} --quiet"
    }
    command = "$MIGRATE || { sleep 60; $MIGRATE; }"
  }
}
