# The resources for rebuilds from the archive with Apache Beam (docs/runbook.md). With `--engine beam`, the job
# `progress-rebuild` starts a Dataflow job from a Flex Template. While no Dataflow job runs, nothing here costs
# money. Dataflow's workers need the quotas `CPUS` and `DISKS_TOTAL_GB` of Compute Engine in the region.

variable "dataflow" {
  description = "Whether Dataflow can rebuild from the archive; it needs Cloud SQL, and costs nothing while unused."
  type        = bool
  default     = false

  validation {
    # The workers have no public addresses. They reach Google's APIs and this network's addresses, but not Neon.
    condition     = !var.dataflow || var.database == "cloud_sql"
    error_message = "expected false unless database = \"cloud_sql\""
  }
}

locals {
  dataflow = toset(var.dataflow ? ["dataflow"] : [])

  # The settings of the job `progress-rebuild`, which starts Dataflow's jobs.
  dataflow_settings = merge([
    for name in local.dataflow : {
      DATAFLOW_TEMPLATE       = "gs://${google_storage_bucket.templates[name].name}/beam-rebuild.json"
      DATAFLOW_REGION         = var.region
      DATAFLOW_SUBNETWORK     = "regions/${var.region}/subnetworks/${google_compute_subnetwork.this[0].name}"
      DATAFLOW_WORKER_ACCOUNT = google_service_account.member[name].email
    }
  ]...)
}

# The bucket of the Flex Template. It also holds the staged and temporary files of Dataflow jobs. These files are
# deleted after a week.
resource "google_storage_bucket" "templates" {
  for_each = local.dataflow

  name                        = "${var.project_id}-progress-templates"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !local.is_prod

  soft_delete_policy {
    retention_duration_seconds = 0
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 7
      matches_prefix = ["staging/", "temp/"]
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "dataflow" {
  for_each = merge([
    for name in local.dataflow : {
      (name)  = local.custom_roles.dataflow
      rebuild = "roles/dataflow.developer" # starts, follows and cancels jobs
    }
  ]...)

  project = var.project_id
  role    = each.value
  member  = google_service_account.member[each.key].member
}

resource "google_service_account_iam_member" "dataflow" {
  for_each = local.dataflow

  service_account_id = google_service_account.member[each.key].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.member["rebuild"].member
}

resource "google_storage_bucket_iam_member" "dataflow_templates" {
  for_each = merge([
    for name in local.dataflow : { (name) = "roles/storage.objectUser", rebuild = "roles/storage.objectViewer" }
  ]...)

  bucket = google_storage_bucket.templates["dataflow"].name
  role   = each.value
  member = google_service_account.member[each.key].member
}

# The workers run the image `beam-rebuild`, which is in this registry.
resource "google_artifact_registry_repository_iam_member" "dataflow" {
  for_each = local.dataflow

  repository = "progress"
  location   = var.region
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.member[each.key].member
}

# Dataflow's workers exchange data on these ports; the rule `progress-deny-ingress` closes all other ports. Dataflow
# gives its workers the network tag `dataflow`.
resource "google_compute_firewall" "dataflow" {
  for_each = local.dataflow

  name        = "progress-dataflow-workers"
  network     = google_compute_network.this[0].id
  direction   = "INGRESS"
  priority    = 900
  source_tags = ["dataflow"]
  target_tags = ["dataflow"]

  allow {
    protocol = "tcp"
    ports    = ["12345-12346"]
  }
}

output "dataflow_image" {
  description = "The path of the image that the Flex Template runs; null without dataflow."
  value       = one([for name in local.dataflow : "${local.registry}/progress/beam-rebuild"])
}

output "dataflow_template" {
  description = "Where the Flex Template is stored; null without dataflow."
  value       = lookup(local.dataflow_settings, "DATAFLOW_TEMPLATE", null)
}
