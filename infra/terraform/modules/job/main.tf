# A Cloud Run job. Terraform sets its size, settings and service account; releases set its image.

resource "google_cloud_run_v2_job" "this" {
  name                = var.name
  location            = var.container.region
  deletion_protection = var.container.deletion_protection

  template {
    task_count  = var.job.tasks
    parallelism = var.job.tasks

    template {
      service_account = var.container.account
      timeout         = var.job.timeout
      max_retries     = var.job.retries

      dynamic "vpc_access" {
        for_each = var.container.network[*]
        content {
          egress = vpc_access.value.egress
          network_interfaces {
            network    = vpc_access.value.network
            subnetwork = vpc_access.value.subnetwork
          }
        }
      }

      containers {
        image   = var.container.image
        command = var.job.command
        args    = var.job.args

        resources {
          limits = { cpu = var.job.cpu, memory = var.job.memory }
        }

        dynamic "env" {
          for_each = { for name, value in var.container.settings : name => value if value != null }
          content {
            name  = env.key
            value = env.value
          }
        }

        dynamic "env" {
          for_each = var.container.secrets
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
      # Set by releases, and by each change that gcloud makes.
      client,
      client_version,
      template[0].annotations,
      template[0].labels,
      template[0].template[0].containers[0].image,
      template[0].template[0].containers[0].name,
    ]
  }
}
