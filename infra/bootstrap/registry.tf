# Images are built once and run everywhere: their registry, and who builds, belong to no environment.

resource "google_artifact_registry_repository" "images" {
  project       = google_project.this["images"].project_id
  repository_id = "progress"
  location      = var.region
  format        = "DOCKER"
  description   = "The functions' images"

  # An environment that is not released for long runs an old image. Cloud Run keeps a copy of what serves, but a new revision,
  # which a changed setting makes, needs the image here. So only what is more than a year old and not among the newest goes.
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

# Deploying an image of another project takes both: Cloud Run's agent pulls it, the deployer may see it.
resource "google_artifact_registry_repository_iam_member" "reader" {
  for_each = merge([
    for name in keys(var.environments) : {
      "${name} agent"     = "serviceAccount:service-${google_project.this[name].number}@serverless-robot-prod.iam.gserviceaccount.com"
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
  for_each = { build = "Builds the functions", pipeline = "GitHub Actions, when it builds" }

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

# The sources of builds: gcloud brings them, as the pipeline; the build reads them.
resource "google_storage_bucket" "sources" {
  project                     = google_project.this["images"].project_id
  name                        = "${var.images_project}-sources"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true # the repository has all that is in it

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
