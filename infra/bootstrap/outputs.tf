output "github_variables" {
  description = "The variables to set in each GitHub environment."
  value = {
    for name, project in local.projects : local.github_environments[name] => {
      PROJECT_ID                 = project
      REGION                     = var.region
      WORKLOAD_IDENTITY_PROVIDER = google_iam_workload_identity_pool_provider.github[name].name
    }
  }
}

output "state_buckets" {
  description = "The state buckets, for infra/terraform/environments/*.gcs.tfbackend; `images` is for this module."
  value       = { for name, bucket in google_storage_bucket.state : name => bucket.name }
}
