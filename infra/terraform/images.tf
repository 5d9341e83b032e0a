# The images: one for each function, built from its archive; the jobs run that of `project`.

variable "image_readers" {
  description = "Of dev: the numbers of the projects, by id, whose services run the images that were built here."
  type        = map(string)
  default     = {}
}

resource "google_artifact_registry_repository" "images" {
  repository_id = "progress"
  location      = var.region
  format        = "DOCKER"
  description   = "The functions' images"

  cleanup_policies {
    id     = "keep-the-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 50 # production runs one of these
    }
  }

  cleanup_policies {
    id     = "delete-the-old"
    action = "DELETE"
    condition {
      older_than = "2592000s" # 30 days
    }
  }

  depends_on = [google_project_service.api]
}

# Deploying an image from another project's repository takes both: the agent pulls it, the deployer may see it.
resource "google_artifact_registry_repository_iam_member" "reader" {
  for_each = merge(
    { for id, number in var.image_readers : "${id} agent" => "serviceAccount:service-${number}@serverless-robot-prod.iam.gserviceaccount.com" },
    { for id, number in var.image_readers : "${id} pipeline" => "serviceAccount:progress-pipeline@${id}.iam.gserviceaccount.com" },
  )

  repository = google_artifact_registry_repository.images.name
  location   = google_artifact_registry_repository.images.location
  role       = "roles/artifactregistry.reader"
  member     = each.value
}

# The first image of each function, before there is a pipeline: a service is made with an image that is there, and its
# build_config says what it was made from but builds nothing. Rights given a moment ago may not hold yet: then once more.
resource "terraform_data" "image" {
  for_each = local.own_files

  triggers_replace = google_artifact_registry_repository.images.id

  provisioner "local-exec" {
    environment = {
      BUILD = join(" ", [
        "gcloud builds submit gs://${google_storage_bucket.sources.name}/${google_storage_bucket_object.source[each.key].name}",
        "--config=${local.repository}/infra/release/build.yaml",
        "--substitutions=_IMAGE=${local.images}/${each.key},_FUNCTION=${each.key}",
        "--service-account=${google_service_account.member["build"].id}",
        "--gcs-source-staging-dir=gs://${google_storage_bucket.sources.name}/builds",
        "--region=${var.region} --project=${var.project_id} --quiet",
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
