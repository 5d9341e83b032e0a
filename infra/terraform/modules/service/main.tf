# A Cloud Run service for a function. Terraform sets its size, settings and service account; releases set its image and
# traffic.

resource "google_cloud_run_v2_service" "this" {
  name                 = var.name
  location             = var.container.region
  ingress              = var.requests.ingress
  invoker_iam_disabled = var.requests.public
  deletion_protection  = var.container.deletion_protection

  # These limits apply to the total number of instances of all revisions with traffic. The schedules for evening and
  # morning change the minimum here, which does not create a revision.
  scaling {
    min_instance_count = var.size.min_instances
    max_instance_count = var.size.max_instances
  }

  template {
    service_account                  = var.container.account
    timeout                          = var.requests.timeout
    max_instance_request_concurrency = var.size.concurrency
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"

    # The limit of each revision. The limits above count only revisions with traffic, so they do not limit green (a
    # release's new revision) before it gets traffic.
    scaling {
      max_instance_count = var.size.max_instances
    }

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
      image = var.container.image

      resources {
        limits            = { cpu = var.size.cpu, memory = var.size.memory }
        cpu_idle          = true
        startup_cpu_boost = true
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

      # In its first 20 to 80 s, a new instance cannot reach private addresses. The path /startup fails until the
      # database and Redis accept TCP connections. After 120 s the probe passes in any case, so that instances can start
      # during a database outage.
      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 2
        failure_threshold = 90
        http_get {
          path = "/startup"
        }
      }

      liveness_probe {
        period_seconds    = 30
        timeout_seconds   = 10
        failure_threshold = 3
        http_get {
          path = var.requests.health
        }
      }
    }
  }

  traffic {
    type    = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
    percent = 100
  }

  lifecycle {
    ignore_changes = [
      # Set by releases, and by each change that gcloud makes.
      client,
      client_version,
      template[0].annotations,
      template[0].containers[0].image,
      template[0].containers[0].name,
      template[0].labels,
      template[0].revision,
      traffic,
      # Set by the schedules for evening and morning.
      scaling[0].min_instance_count,
    ]
  }
}
