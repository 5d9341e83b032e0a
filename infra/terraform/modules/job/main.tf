# A Cloud Run job. Terraform sets its size, settings and service account; releases set its image.

resource "google_cloud_run_v2_job" "this" {
  name                = var.name
  location            = var.region
  deletion_protection = var.deletion_protection

  template {
    task_count  = var.tasks
    parallelism = var.tasks

    template {
      service_account = var.account
      timeout         = var.timeout
      max_retries     = var.retries

      vpc_access {
        egress = var.network.egress
        network_interfaces {
          network    = var.network.network
          subnetwork = var.network.subnetwork
        }
      }

      containers {
        image   = var.image
        command = var.command
        args    = var.args

        resources {
          limits = { cpu = var.cpu, memory = var.memory }
        }

        dynamic "env" {
          for_each = { for name, value in var.settings : name => value if value != null }
          content {
            name  = env.key
            value = env.value
          }
        }

        dynamic "env" {
          for_each = var.secrets
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
