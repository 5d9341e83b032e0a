# The APIs that all other resources need.

resource "google_project_service" "api" {
  for_each = toset(concat(
    [
      "artifactregistry.googleapis.com",
      "bigquery.googleapis.com",
      "billingbudgets.googleapis.com",
      "cloudresourcemanager.googleapis.com",
      "cloudscheduler.googleapis.com",
      "cloudtrace.googleapis.com",
      "iam.googleapis.com",
      "iamcredentials.googleapis.com", # signed URLs
      "logging.googleapis.com",
      "monitoring.googleapis.com",
      "pubsub.googleapis.com",
      "run.googleapis.com",
      "secretmanager.googleapis.com",
      "storage.googleapis.com",
      "telemetry.googleapis.com",
    ],
    local.has_private_services || local.has_load_balancer ? ["compute.googleapis.com"] : [],
    local.has_private_services ? ["servicenetworking.googleapis.com"] : [],
    local.has_cloud_sql ? ["sqladmin.googleapis.com"] : [],
    local.has_memorystore ? ["redis.googleapis.com"] : [],
    local.has_load_balancer ? ["certificatemanager.googleapis.com"] : [],
  ))

  service            = each.value
  disable_on_destroy = false
}
