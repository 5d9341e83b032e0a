# The image of everything that runs: the functions and the jobs. Terraform sets it when it creates a service or a job;
# later, releases do. The pipeline has built it before it applies. A published version sets the default of var.image.
# Without either, an operator builds the image, in a registry that infra/bootstrap creates (docs/first-cloud.md).

variable "delivered_image" {
  description = "The image of the release that the pipeline applies for; null: what var.image names."
  type        = string
  default     = null
}

locals {
  registry     = "${var.region}-docker.pkg.dev/${var.project_id}"
  is_published = startswith(coalesce(var.image, "none"), "ghcr.io/")
  image = coalesce(
    var.delivered_image, local.is_published ? "${local.registry}/ghcr/${trimprefix(var.image, "ghcr.io/")}" : var.image,
    one(data.google_artifact_registry_docker_image.built[*].self_link), "${local.registry}/progress/progress:latest"
  )
}

# The digest of the newest build: a job looks a tag up at each execution, and would run the next build before a release
# has migrated the database. The pipeline's images are elsewhere.
data "google_artifact_registry_docker_image" "built" {
  count = var.image == null && var.delivered_image == null && var.github == null ? 1 : 0

  location      = var.region
  repository_id = "progress"
  image_name    = "progress:latest"
}

# Cloud Run cannot pull from ghcr.io itself.
resource "google_artifact_registry_repository" "published" {
  count = local.is_published ? 1 : 0

  repository_id = "ghcr"
  location      = var.region
  format        = "DOCKER"
  mode          = "REMOTE_REPOSITORY"
  description   = "The images of ghcr.io"

  remote_repository_config {
    docker_repository {
      custom_repository { uri = "https://ghcr.io" }
    }
  }

  depends_on = [google_project_service.api]
}

# An account can deploy an image only if it may read the image: the pipeline deploys the first one again in a rollback.
resource "google_artifact_registry_repository_iam_member" "pipeline" {
  for_each = var.image == null || local.is_published ? local.pipeline : []

  repository = var.image == null ? "progress" : google_artifact_registry_repository.published[0].name
  location   = var.region
  role       = "roles/artifactregistry.reader"
  member     = local.members[each.key]
}
