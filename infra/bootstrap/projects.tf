# A project for each environment, and one for the images that all environments run if GitHub Actions deliver them.

locals {
  folder = "${path.module}/../terraform"

  # infra/terraform reads the same files.
  files = {
    for name in var.environments :
    name => provider::terraform::decode_tfvars(file("${local.folder}/environments/${name}.tfvars"))
  }
  environments = { for name, file in local.files : name => file.project_id }
  delivered    = var.github == null ? {} : local.environments
  projects     = merge(local.environments, var.github == null ? {} : { images = var.images_project })

  # The images have the organisation and the billing account of the first environment.
  owners = merge(local.files, { images = local.files[sort(keys(local.files))[0]] })

  # One of the six in which Google lets new projects build: see "Restricted regions for some projects" on
  # cloud.google.com/build/docs/locations.
  images_region = "europe-west1"

  regions = { for name in keys(local.projects) : name => (
    name == "images" ? local.images_region : try(local.files[name].region, "europe-west1")
  ) }

  # What each environment uses besides the functions and the jobs, by the names in apis.json.
  uses = { for name, file in local.files : name => compact(concat(
    [for key in ["database", "migration_target", "former_database", "redis"] : try(file[key], null)],
    [can(coalesce(file.domain)) ? "domain" : ""],
  )) }

  # All APIs of the environment, minutes before infra/terraform, which lists the same, uses them: a new one takes a
  # while to work.
  apis = jsondecode(file("${local.folder}/apis.json"))
  used_apis = { for name, uses in local.uses : name => distinct(concat(
    local.apis.always, flatten([for use in uses : lookup(local.apis.used_with, use, [])]),
  )) }

  # Only a network or a load balancer needs the compute API, which creates a default account:
  # https://docs.cloud.google.com/iam/docs/service-account-types#default
  computing = [for name, apis in local.used_apis : name if contains(apis, "compute")]

  # The APIs that Terraform and gcloud need besides.
  enabled_apis = {
    for name in keys(local.projects) : name => distinct(concat(
      ["artifactregistry", "cloudbuild", "cloudresourcemanager", "iam", "logging", "serviceusage", "storage"],
      var.github == null ? [] : ["iamcredentials", "sts"], # the sign-in of GitHub Actions
      name == "images" ? [] : ["cloudquotas"],
      lookup(local.used_apis, name, []),
    ))
  }
}

resource "google_project" "this" {
  for_each = local.projects

  name            = each.value
  project_id      = each.value
  org_id          = try(one(regex("^organizations/(.*)$", local.owners[each.key].parent)), null)
  folder_id       = try(one(regex("^folders/(.*)$", local.owners[each.key].parent)), null)
  billing_account = local.owners[each.key].billing_account
  deletion_policy = "PREVENT"

  # With false, the provider enables the compute API itself, to delete the network that Google makes with it. Where
  # this fails, it leaves the project tainted.
  auto_create_network = !contains(local.computing, each.key)

  lifecycle {
    # Google refuses a deleted project's id for 30 days. Terraform would ask the provider, which deletion_policy stops,
    # only after it has destroyed what is in the project.
    prevent_destroy = true

    precondition {
      condition = try(
        local.owners[each.key].parent == null ||
        can(regex("^(folders|organizations)/[0-9]+$", local.owners[each.key].parent)),
        false,
      )
      error_message = join(" ", [
        "expected parent = \"organizations/NUMBER\" or \"folders/NUMBER\" in the environment's tfvars:",
        "`gcloud organizations list` prints the number",
      ])
    }
  }
}

resource "google_project_service" "first" {
  for_each = merge([
    for name, apis in local.enabled_apis : { for api in apis : "${name} ${api}" => { project = name, api = api } }
  ]...)

  project            = google_project.this[each.value.project].project_id
  service            = "${each.value.api}.googleapis.com"
  disable_on_destroy = false
}

# Creates Cloud Run's service agents, which pull the images, before registry.tf grants these agents a role. Otherwise,
# Google would create an agent only when Cloud Run is first used. If the beta commands are missing, the first call
# installs them: without a question, because --quiet comes before the word beta, and not in parallel.
#
# Then takes the editor role from the default account that the compute API creates, wherever it is on, as which nothing
# in Progress runs. An organisation's policy may never have granted this role; infra/preflight looks.
resource "terraform_data" "run_agent" {
  triggers_replace = [{ for name in keys(local.projects) : name => google_project.this[name].number }, local.computing]

  provisioner "local-exec" {
    command = join("; ", concat(["set -e"], [
      for name, project in local.environments :
      "gcloud --quiet beta services identity create --service=run.googleapis.com --project=${project}"
      ], [
      for name, project in local.projects : join(" ", [
        "gcloud --quiet projects remove-iam-policy-binding ${project} --role=roles/editor --condition=None",
        "--member=serviceAccount:${google_project.this[name].number}-compute@developer.gserviceaccount.com",
        "|| echo 'No editor role was taken from the default account of ${project}.'",
      ])
    ]))
  }

  depends_on = [google_project_service.first]
}
