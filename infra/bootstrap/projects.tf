# A project for each environment, and one for the images that all environments run.

locals {
  projects = merge(var.environments, { images = var.images_project })

  # The APIs that Terraform needs before it can enable all other APIs. The compute API creates a default account, which
  # loses its roles (see below) before anything can use it. infra/preflight uses cloudbilling, cloudquotas and
  # orgpolicy.
  first_apis = {
    for name in keys(local.projects) : name => concat(
      ["cloudresourcemanager", "compute", "iam", "iamcredentials", "serviceusage", "storage", "sts"],
      (
        name == "images"
        ? ["artifactregistry", "cloudbuild", "logging"]
        : ["billingbudgets", "cloudbilling", "cloudquotas", "orgpolicy", "run"]
      ),
    )
  }
}

resource "google_project" "this" {
  for_each = local.projects

  name                = each.value
  project_id          = each.value
  org_id              = try(one(regex("^organizations/(.*)$", var.parent)), null)
  folder_id           = try(one(regex("^folders/(.*)$", var.parent)), null)
  billing_account     = var.billing_account
  auto_create_network = false
  deletion_policy     = contains(["prod", "images"], each.key) ? "PREVENT" : "DELETE"
}

resource "google_project_service" "first" {
  for_each = merge([
    for name, apis in local.first_apis : { for api in apis : "${name} ${api}" => { project = name, api = api } }
  ]...)

  project            = google_project.this[each.value.project].project_id
  service            = "${each.value.api}.googleapis.com"
  disable_on_destroy = false
}

# Remove the editor role that Google grants to the default accounts. Nothing in Progress runs as a default account.
resource "google_project_default_service_accounts" "this" {
  for_each = local.projects

  project        = google_project.this[each.key].project_id
  action         = "DEPRIVILEGE"
  restore_policy = "NONE"

  depends_on = [google_project_service.first]
}

# Creates Cloud Run's service agent, which pulls the images, before registry.tf grants this agent a role. Otherwise,
# Google would create the agent only when Cloud Run is first used.
resource "terraform_data" "run_agent" {
  for_each = var.environments

  triggers_replace = google_project.this[each.key].number

  provisioner "local-exec" {
    command = "gcloud beta services identity create --service=run.googleapis.com --project=${each.value} --quiet"
  }

  depends_on = [google_project_service.first]
}
