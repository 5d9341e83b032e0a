# The pipeline's accounts in each environment: who applies, who plans and changes nothing, who releases.

locals {
  accounts = {
    "terraform"         = "GitHub Actions, when it applies infra/terraform"
    "terraform-plan"    = "GitHub Actions, when it plans infra/terraform"
    "progress-pipeline" = "GitHub Actions, when it releases" # what it may do, infra/terraform says
  }

  environment_accounts = {
    for each in setproduct(keys(var.environments), keys(local.accounts)) : join(" ", each) => { environment = each[0], account = each[1] }
  }

  # On the environment's project: for each kind of resource in infra/terraform who makes and removes it, and who reads it.
  project_roles = {
    terraform = [
      "roles/artifactregistry.admin",
      "roles/bigquery.dataOwner",
      "roles/cloudbuild.builds.editor", # the first images
      "roles/cloudscheduler.admin",
      "roles/cloudsql.admin",
      "roles/compute.loadBalancerAdmin",
      "roles/compute.networkAdmin",
      "roles/compute.securityAdmin",
      "roles/iam.roleAdmin",
      "roles/iam.serviceAccountAdmin",
      "roles/iam.serviceAccountUser", # services and jobs run as the accounts that it makes
      "roles/logging.configWriter",
      "roles/monitoring.editor",
      "roles/pubsub.admin",
      "roles/redis.admin",
      "roles/resourcemanager.projectIamAdmin",
      "roles/run.admin",
      "roles/secretmanager.admin",
      "roles/servicenetworking.networksAdmin",
      "roles/serviceusage.serviceUsageAdmin",
      "roles/storage.admin",
    ]
    # Not roles/viewer: with it come the contents of buckets and of BigQuery.
    "terraform-plan" = [
      "roles/artifactregistry.reader",
      "roles/bigquery.metadataViewer",
      "roles/browser",
      "roles/cloudscheduler.viewer",
      "roles/cloudsql.viewer",
      "roles/compute.viewer",
      "roles/iam.roleViewer",
      "roles/iam.securityReviewer", # who may do what, of each resource
      "roles/iam.serviceAccountViewer",
      "roles/monitoring.viewer",
      "roles/pubsub.viewer",
      "roles/redis.viewer",
      "roles/run.viewer",
      "roles/secretmanager.viewer", # which secrets there are, not what is in them
      "roles/serviceusage.serviceUsageConsumer",
    ]
  }

  # On the billing account: budgets.
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
    for environment in keys(var.environments) : merge([
      for account, roles in local.project_roles : {
        for role in roles : "${environment} ${account} ${role}" => { environment = environment, account = account, role = role }
      }
    ]...)
  ]...)

  project = google_project.this[each.value.environment].project_id
  role    = each.value.role
  member  = google_service_account.ci["${each.value.environment} ${each.value.account}"].member
}

# What no role of Google's has without contents: log-based metrics without logs, buckets without objects.
resource "google_project_iam_custom_role" "plan" {
  for_each = var.environments

  project = google_project.this[each.key].project_id
  role_id = "terraformPlan"
  title   = "Terraform: reads what roles of Google's read only with contents"
  permissions = [
    "logging.logMetrics.get", "logging.logMetrics.list",
    "redis.instances.getAuthString", # the provider reads it with the instance; the state has it too
    "servicenetworking.services.get",
    "storage.buckets.get", "storage.buckets.list",
  ]

  depends_on = [google_project_service.first]
}

resource "google_project_iam_member" "plan" {
  for_each = var.environments

  project = google_project.this[each.key].project_id
  role    = google_project_iam_custom_role.plan[each.key].name
  member  = google_service_account.ci["${each.key} terraform-plan"].member
}

# The provider compares what is in secrets whose value stands in the state in any case. It reads no other's.
resource "google_project_iam_member" "plan_contents" {
  for_each = var.environments

  project = google_project.this[each.key].project_id
  role    = "roles/secretmanager.secretAccessor"
  member  = google_service_account.ci["${each.key} terraform-plan"].member

  condition {
    title = "what Terraform compares"
    expression = join(" || ", [
      for secret in ["progress-cloud-sql-logins", "progress-redis-url"] :
      "resource.name.startsWith('projects/${google_project.this[each.key].number}/secrets/${secret}/')"
    ])
  }
}

resource "google_billing_account_iam_member" "ci" {
  for_each = { for name, each in local.environment_accounts : name => each if contains(keys(local.billing_roles), each.account) }

  billing_account_id = var.billing_account
  role               = local.billing_roles[each.value.account]
  member             = google_service_account.ci[each.key].member
}
