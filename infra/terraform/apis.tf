# The APIs that all other resources need. infra/bootstrap has enabled them, too, from the same file.

locals {
  apis = jsondecode(file("${path.module}/apis.json"))
  uses = concat(
    local.has_cloud_sql ? ["cloud_sql"] : [],
    local.has_memorystore ? ["memorystore"] : [],
    local.has_load_balancer ? ["domain"] : [],
  )
}

resource "google_project_service" "api" {
  for_each = toset([
    for api in concat(local.apis.always, flatten([for use in local.uses : local.apis.used_with[use]])) :
    "${api}.googleapis.com"
  ])

  service            = each.value
  disable_on_destroy = false
}
