# The registry of the images, and the accounts that build them. Images are built once for all environments, so the
# registry and these accounts do not belong to an environment.

resource "google_artifact_registry_repository" "images" {
  project       = google_project.this["images"].project_id
  repository_id = "progress"
  location      = var.region
  format        = "DOCKER"
  description   = "The functions' images"

  # An environment without recent releases runs an old image. Cloud Run keeps a copy of the image for the revisions that
  # serve. But a changed setting creates a new revision, which needs the image in the registry. Therefore an image is
  # deleted only if it is older than 400 days and not among the newest 50.
  cleanup_policies {
    id     = "keep-the-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 50
    }
  }

  cleanup_policies {
    id     = "delete-the-old"
    action = "DELETE"
    condition {
      older_than = "34560000s" # 400 days
    }
  }

  depends_on = [google_project_service.first]
}

# An environment can deploy these images only if Cloud Run's agent and the deploying account can both read them.
resource "google_artifact_registry_repository_iam_member" "reader" {
  for_each = merge([
    for name in keys(var.environments) : {
      "${name} agent" = join("", [
        "serviceAccount:service-${google_project.this[name].number}",
        "@serverless-robot-prod.iam.gserviceaccount.com",
      ])
      "${name} terraform" = google_service_account.ci["${name} terraform"].member
      "${name} pipeline"  = google_service_account.ci["${name} progress-pipeline"].member
    }
  ]...)

  project    = google_artifact_registry_repository.images.project
  repository = google_artifact_registry_repository.images.name
  location   = google_artifact_registry_repository.images.location
  role       = "roles/artifactregistry.reader"
  member     = each.value

  depends_on = [terraform_data.run_agent]
}

resource "google_service_account" "images" {
  for_each = { build = "Builds the images", pipeline = "GitHub Actions, when it builds" }

  project      = google_project.this["images"].project_id
  account_id   = "progress-${each.key}"
  display_name = each.value

  depends_on = [google_project_service.first]
}

resource "google_project_iam_member" "images" {
  for_each = {
    "roles/cloudbuild.builds.editor"          = "pipeline"
    "roles/serviceusage.serviceUsageConsumer" = "pipeline"
    "roles/logging.logWriter"                 = "build"
  }

  project = google_project.this["images"].project_id
  role    = each.key
  member  = google_service_account.images[each.value].member
}

resource "google_service_account_iam_member" "builds_as" {
  service_account_id = google_service_account.images["build"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.images["pipeline"].member
}

resource "google_artifact_registry_repository_iam_member" "build" {
  project    = google_artifact_registry_repository.images.project
  repository = google_artifact_registry_repository.images.name
  location   = google_artifact_registry_repository.images.location
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.images["build"].member
}

# The source archives of builds: gcloud uploads them with the pipeline's account, and the build reads them.
resource "google_storage_bucket" "sources" {
  project                     = google_project.this["images"].project_id
  name                        = "${var.images_project}-sources"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age = 30
    }
  }

  depends_on = [google_project_service.first]
}

resource "google_storage_bucket_iam_member" "sources" {
  for_each = {
    "roles/storage.objectUser"         = "pipeline"
    "roles/storage.legacyBucketReader" = "pipeline"
    "roles/storage.objectViewer"       = "build"
  }

  bucket = google_storage_bucket.sources.name
  role   = each.key
  member = google_service_account.images[each.value].member
}
