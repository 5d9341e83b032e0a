# GitHub Actions, without a key: a workflow of the repository, from the branch, in the environment, and no other.

variable "github" {
  description = "Whose workflows may release to this environment: the repository, its number, its branch, the environment's name at GitHub."
  type = object({
    repository    = string # owner/name
    repository_id = number # a name can be given to another; the number cannot
    branch        = optional(string, "main")
    environment   = string
  })
}

resource "google_iam_workload_identity_pool" "github" {
  workload_identity_pool_id = "progress-github"
  display_name              = "GitHub Actions"

  depends_on = [google_project_service.api]
}

resource "google_iam_workload_identity_pool_provider" "github" {
  workload_identity_pool_id          = google_iam_workload_identity_pool.github.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub Actions"

  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.repository" = "assertion.repository"
  }

  attribute_condition = join(" && ", [
    "assertion.repository == '${var.github.repository}'",
    "assertion.repository_id == '${var.github.repository_id}'",
    "assertion.ref == 'refs/heads/${var.github.branch}'",
    "assertion.environment == '${var.github.environment}'",
    "assertion.event_name in ['push', 'schedule', 'workflow_dispatch']", # none that a stranger can make happen on the branch
  ])

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account_iam_member" "github" {
  service_account_id = google_service_account.member["pipeline"].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github.name}/attribute.repository/${var.github.repository}"
}
