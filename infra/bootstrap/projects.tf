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

# Creates Cloud Run's service agents, which pull the images, before registry.tf grants these agents a role. Otherwise,
# Google would create an agent only when Cloud Run is first used. If the beta commands are missing, the first call
# installs them: without a question, because --quiet comes before the word beta, and not in parallel.
resource "terraform_data" "run_agent" {
  triggers_replace = [for name in keys(var.environments) : google_project.this[name].number]

  provisioner "local-exec" {
    command = join("; ", concat(["set -e"], [
      for project in values(var.environments) :
      "gcloud --quiet beta services identity create --service=run.googleapis.com --project=${project}"
    ]))
  }

  depends_on = [google_project_service.first]
}
