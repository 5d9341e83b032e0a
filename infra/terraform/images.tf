# The first images: one for each function, built from its archive; the jobs run that of `project`. A release brings
# others, from the registry that all environments share (infra/bootstrap).

variable "build_region" {
  description = "Where Cloud Build makes the first images: Google lets a new project build in six regions only."
  type        = string
  default     = "europe-west1"

  # cloud.google.com/build/docs/locations, "Restricted regions for some projects".
  validation {
    condition     = contains(["asia-east1", "australia-southeast1", "europe-west1", "southamerica-east1", "us-central1", "us-west2"], var.build_region)
    error_message = "expected asia-east1, australia-southeast1, europe-west1, southamerica-east1, us-central1 or us-west2"
  }
}

# Nothing is deleted here: an environment without a release goes on running these few images.
resource "google_artifact_registry_repository" "images" {
  repository_id = "progress"
  location      = var.region
  format        = "DOCKER"
  description   = "The functions' first images"

  depends_on = [google_project_service.api]
}

# The first image of each function, before there is a pipeline: a service is made with an image that is there. gcloud uploads
# the archive, so that no resource changes with the code. Rights given a moment ago may not hold yet: then once more.
resource "terraform_data" "image" {
  for_each = local.own_files

  triggers_replace = google_artifact_registry_repository.images.id

  provisioner "local-exec" {
    environment = {
      BUILD = join(" ", [
        "gcloud builds submit ${data.archive_file.source[each.key].output_path}",
        "--config=${local.repository}/infra/release/build.yaml",
        "--substitutions=_IMAGE=${local.images}/${each.key},_FUNCTION=${each.key}",
        "--service-account=${google_service_account.member["build"].id}",
        "--gcs-source-staging-dir=gs://${google_storage_bucket.sources.name}/builds",
        "--region=${var.build_region} --project=${var.project_id} --quiet",
      ])
    }
    command = "$BUILD || { sleep 90; $BUILD; }"
  }

  depends_on = [
    google_artifact_registry_repository_iam_member.build,
    google_project_iam_member.member,
    google_storage_bucket_iam_member.build,
  ]
}

locals {
  images = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"
}
