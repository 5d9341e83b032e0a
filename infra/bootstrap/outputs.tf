output "github_variables" {
  description = "The variables of each environment at GitHub, by its name there."
  value = {
    for name, project in local.projects : local.github_environments[name] => {
      PROJECT_ID                 = project
      REGION                     = var.region
      WORKLOAD_IDENTITY_PROVIDER = google_iam_workload_identity_pool_provider.github[name].name
    }
  }
}

output "state_buckets" {
  description = "Where each state is: environments/*.gcs.tfbackend of infra/terraform name theirs; images is this root's."
  value       = { for name, bucket in google_storage_bucket.state : name => bucket.name }
}
