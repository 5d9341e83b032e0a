output "github_variables" {
  # Only the builds read REGION. The workflows of an environment read the region from the environment's tfvars.
  description = "The variables to set in each GitHub environment."
  value = merge([
    for name, project in var.github == null ? {} : local.projects : {
      for environment in compact([local.github_environments[name], lookup(local.plan_environments, name, "")]) :
      environment => merge(
        {
          PROJECT_ID                 = project
          WORKLOAD_IDENTITY_PROVIDER = google_iam_workload_identity_pool_provider.github[name].name
        },
        name == "images" ? { REGION = local.images_region } : {},
      )
    }
  ]...)
}

output "github_environments" {
  description = "The repository's variable ENVIRONMENTS: the GitHub environments with a project in the cloud, as JSON."
  value       = jsonencode([for name in keys(local.projects) : local.github_environments[name] if var.github != null])
}
