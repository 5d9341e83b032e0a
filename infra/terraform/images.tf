# The first image of each function, built from the function's source archive. The jobs run the image of `project`.
# Releases deploy later images from the registry that all environments share (infra/bootstrap).

variable "build_region" {
  description = "The region of the first builds. Google lets a new project build images in six regions only."
  type        = string
  default     = "europe-west1"

  # See "Restricted regions for some projects" on cloud.google.com/build/docs/locations.
  validation {
    condition = contains(
      ["asia-east1", "australia-southeast1", "europe-west1", "southamerica-east1", "us-central1", "us-west2"],
      var.build_region,
    )
    error_message = join(" ", [
      "expected asia-east1, australia-southeast1, europe-west1, southamerica-east1,",
      "us-central1 or us-west2",
    ])
  }
}

# There is no cleanup policy, because an environment runs these few images until its first release.
resource "google_artifact_registry_repository" "images" {
  repository_id = "progress"
  location      = var.region
  format        = "DOCKER"
  description   = "The functions' first images"

  depends_on = [google_project_service.api]
}

# Builds the first images, because a service can only be created with an existing image. gcloud uploads the source
# archive. The archive is not a Terraform resource, so no resource changes when the code changes. A failed build is
# repeated after 90 s, because new IAM roles take effect only after a delay.
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
