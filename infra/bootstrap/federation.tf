# Workload Identity Federation with GitHub Actions, without keys. A workflow gets access to a project only if it runs
# from the repository and the branch in `var.github`, and in the GitHub environment of this project.

locals {
  # The names of the environments at GitHub.
  github_environments = { dev = "dev", staging = "staging", prod = "production", images = "images" }

  # Before a reviewer approves a release to production, deliver.yaml shows what Terraform would change. The plan runs
  # in an environment at GitHub that needs no approval. Only plan.yaml may use this environment.
  plan_environments = { prod = "production-plan" }

  environment_conditions = {
    for name, environment in var.github == null ? {} : local.github_environments : name => join(" || ", concat(
      ["assertion.environment == '${environment}'"],
      [
        for plan in compact([lookup(local.plan_environments, name, "")]) : join("", [
          "(assertion.environment == '${plan}' && ",
          "assertion.job_workflow_ref.startsWith('${var.github.repository}/.github/workflows/plan.yaml@'))",
        ])
      ],
    ))
  }

  # The workflows that may use each account.
  workflows = {
    "terraform"         = ["release.yaml"]
    "terraform-plan"    = ["plan.yaml"]
    "progress-pipeline" = ["release.yaml", "rollback.yaml"]
  }

  workflow_accounts = merge(
    merge([
      for environment in keys(local.delivered) : merge([
        for account, files in local.workflows : {
          for file in files : "${environment} ${account} ${file}" => {
            project = environment
            account = google_service_account.ci["${environment} ${account}"].name
            file    = file
          }
        }
      ]...)
    ]...),
    {
      for account in google_service_account.pipeline[*].name :
      "images progress-pipeline deliver.yaml" => { project = "images", account = account, file = "deliver.yaml" }
    },
  )
}

resource "google_iam_workload_identity_pool" "github" {
  for_each = var.github == null ? {} : local.projects

  project                   = google_project.this[each.key].project_id
  workload_identity_pool_id = "progress-github"
  display_name              = "GitHub Actions"

  depends_on = [google_project_service.first]
}

resource "google_iam_workload_identity_pool_provider" "github" {
  for_each = var.github == null ? {} : local.projects

  project                            = google_project.this[each.key].project_id
  workload_identity_pool_id          = google_iam_workload_identity_pool.github[each.key].workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub Actions"

  attribute_mapping = {
    # Google allows 127 bytes, and GitHub's `sub` may be longer.
    "google.subject"     = "assertion.repository_id + ':' + assertion.environment"
    "attribute.workflow" = "assertion.job_workflow_ref.extract('/.github/workflows/{file}@')"
  }

  attribute_condition = join(" && ", [
    "assertion.repository == '${var.github.repository}'",
    "assertion.repository_id == '${var.github.repository_id}'",
    "assertion.ref == 'refs/heads/${var.github.branch}'",
    "(${local.environment_conditions[each.key]})",
    # Only people with write access can trigger these events on the branch.
    "assertion.event_name in ['push', 'schedule', 'workflow_dispatch']",
    "assertion.job_workflow_ref.startsWith('${var.github.repository}/.github/workflows/')",
  ])

  oidc { issuer_uri = "https://token.actions.githubusercontent.com" }
}

resource "google_service_account_iam_member" "github" {
  for_each = local.workflow_accounts

  service_account_id = each.value.account
  role               = "roles/iam.workloadIdentityUser"
  member = join("/", [
    "principalSet://iam.googleapis.com", google_iam_workload_identity_pool.github[each.value.project].name,
    "attribute.workflow", each.value.file,
  ])
}
