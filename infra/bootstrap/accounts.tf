# The pipeline's accounts in each environment that GitHub Actions deliver to: one to apply, one to plan (read only), and
# one to release.

locals {
  accounts = {
    "terraform"         = "GitHub Actions, when it applies infra/terraform"
    "terraform-plan"    = "GitHub Actions, when it plans infra/terraform"
    "progress-pipeline" = "GitHub Actions, when it releases" # infra/terraform grants this account its roles
  }

  environment_accounts = {
    for pair in setproduct(keys(local.delivered), keys(local.accounts)) :
    join(" ", pair) => { environment = pair[0], account = pair[1] }
  }

  # Roles on the environment's project. The account `terraform` may manage each kind of resource in infra/terraform. The
  # account `terraform-plan` may read each kind.
  project_roles = {
    terraform = [
      "artifactregistry.admin", "bigquery.dataOwner", "certificatemanager.owner", "cloudscheduler.admin",
      "cloudsql.admin", "compute.loadBalancerAdmin", "compute.networkAdmin", "compute.securityAdmin",
      "iam.serviceAccountAdmin", "logging.configWriter", "monitoring.editor", "pubsub.admin", "redis.admin",
      "run.admin", "secretmanager.admin", "servicenetworking.networksAdmin", "serviceusage.serviceUsageAdmin",
      "storage.admin",
      "bigquery.jobUser",       # BigQuery checks the query of a new view
      "iam.serviceAccountUser", # to deploy services and jobs with their accounts
    ]
    # The role `viewer` is not in this list, because it also permits reading the contents of buckets and BigQuery.
    "terraform-plan" = [
      "artifactregistry.reader", "bigquery.metadataViewer", "browser", "certificatemanager.viewer",
      "cloudscheduler.viewer", "cloudsql.viewer", "compute.viewer", "iam.serviceAccountViewer", "monitoring.viewer",
      "pubsub.viewer", "redis.viewer", "run.viewer", "serviceusage.serviceUsageConsumer",
      "iam.securityReviewer", # to read IAM policies
      "secretmanager.viewer", # names of secrets, not their values
    ]
  }

  # The only roles that the account `terraform` may grant on the project: those that infra/terraform grants there. A
  # condition may list ten.
  granted_roles = [
    "roles/cloudsql.client", "roles/cloudsql.instanceUser", "roles/monitoring.viewer", "roles/run.developer",
    "roles/serviceusage.serviceUsageConsumer", "roles/telemetry.writer", "progressBackups", "progressMeasurements",
  ]

  # Roles on the billing account, for budgets.
  billing_roles = { "terraform" = "roles/billing.costsManager", "terraform-plan" = "roles/billing.viewer" }
}

resource "google_service_account" "ci" {
  for_each = local.environment_accounts

  project      = google_project.this[each.value.environment].project_id
  account_id   = each.value.account
  display_name = local.accounts[each.value.account]

  depends_on = [google_project_service.first]
}

resource "google_project_iam_member" "ci" {
  for_each = merge([
    for environment in keys(local.delivered) : merge([
      for account, roles in local.project_roles : {
        for role in formatlist("roles/%s", roles) :
        "${environment} ${account} ${role}" => { environment = environment, account = account, role = role }
      }
    ]...)
  ]...)

  project = google_project.this[each.value.environment].project_id
  role    = each.value.role
  member  = google_service_account.ci["${each.value.environment} ${each.value.account}"].member
}

resource "google_project_iam_member" "ci_grants" {
  for_each = local.delivered

  project = google_project.this[each.key].project_id
  role    = "roles/resourcemanager.projectIamAdmin"
  member  = google_service_account.ci["${each.key} terraform"].member

  condition {
    title = "The roles that infra/terraform grants"
    expression = format("api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([%s])", join(", ", [
      for role in local.granted_roles :
      startswith(role, "roles/") ? "'${role}'" : "'projects/${each.value}/roles/${role}'"
    ]))
  }
}

resource "google_project_iam_member" "plan" {
  for_each = local.delivered

  project = google_project.this[each.key].project_id
  role    = google_project_iam_custom_role.this["${each.key}/terraformPlan"].name
  member  = google_service_account.ci["${each.key} terraform-plan"].member
}

# Terraform's provider reads the values of two secrets, to compare them with the state. The plan account can read the
# same values in the state anyway. It cannot read any other secret.
resource "google_project_iam_member" "plan_contents" {
  for_each = local.delivered

  project = google_project.this[each.key].project_id
  role    = "roles/secretmanager.secretAccessor"
  member  = google_service_account.ci["${each.key} terraform-plan"].member

  condition {
    title = "Secrets whose values are in the state"
    expression = join(" || ", [
      for secret in ["progress-cloud-sql-logins", "progress-redis-url"] :
      "resource.name.startsWith('projects/${google_project.this[each.key].number}/secrets/${secret}/')"
    ])
  }
}

resource "google_billing_account_iam_member" "ci" {
  for_each = {
    for name, pair in local.environment_accounts : name => pair if contains(keys(local.billing_roles), pair.account)
  }

  billing_account_id = local.files[each.value.environment].billing_account
  role               = local.billing_roles[each.value.account]
  member             = google_service_account.ci[each.key].member
}
