# The registries of images, and the accounts that build them. GitHub Actions build once for all environments, in the
# images' project. Each environment has a registry of its own, too, in which an operator builds: it stays when a later
# version names a published image, because jobs and revisions run what was built. An empty one costs nothing.

resource "google_artifact_registry_repository" "images" {
  for_each = local.projects

  project       = google_project.this[each.key].project_id
  repository_id = "progress"
  location      = local.regions[each.key]
  format        = "DOCKER"
  description   = "Images of Progress"

  # An environment without recent releases runs an old image. Cloud Run keeps a copy of the image for the revisions that
  # serve. But a changed setting creates a new revision, which needs the image in the registry. Therefore an image is
  # deleted only if it is older than 400 days and not among the newest 50.
  cleanup_policies {
    id     = "keep-the-newest"
    action = "KEEP"
    most_recent_versions { keep_count = 50 }
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

# An environment can deploy the pipeline's images only if Cloud Run's agent and the deploying account can read them.
resource "google_artifact_registry_repository_iam_member" "reader" {
  for_each = merge([
    for name in keys(local.delivered) : {
      "${name} agent" = join("", [
        "serviceAccount:service-${google_project.this[name].number}",
        "@serverless-robot-prod.iam.gserviceaccount.com",
      ])
      "${name} terraform" = google_service_account.ci["${name} terraform"].member
      "${name} pipeline"  = google_service_account.ci["${name} progress-pipeline"].member
    }
  ]...)

  project    = google_artifact_registry_repository.images["images"].project
  repository = google_artifact_registry_repository.images["images"].name
  location   = google_artifact_registry_repository.images["images"].location
  role       = "roles/artifactregistry.reader"
  member     = each.value

  depends_on = [terraform_data.run_agent]
}

resource "google_service_account" "build" {
  for_each = local.projects

  project      = google_project.this[each.key].project_id
  account_id   = "progress-build"
  display_name = "Builds the images"

  depends_on = [google_project_service.first]
}

resource "google_project_iam_member" "build" {
  for_each = local.projects

  project = google_project.this[each.key].project_id
  role    = "roles/logging.logWriter"
  member  = google_service_account.build[each.key].member
}

resource "google_artifact_registry_repository_iam_member" "build" {
  for_each = local.projects

  project    = google_artifact_registry_repository.images[each.key].project
  repository = google_artifact_registry_repository.images[each.key].name
  location   = google_artifact_registry_repository.images[each.key].location
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build[each.key].member
}

resource "google_service_account" "pipeline" {
  count = var.github == null ? 0 : 1

  project      = google_project.this["images"].project_id
  account_id   = "progress-pipeline"
  display_name = "GitHub Actions, when it builds"

  depends_on = [google_project_service.first]
}

resource "google_project_iam_member" "pipeline" {
  for_each = var.github == null ? [] : toset([
    "roles/cloudbuild.builds.editor", "roles/serviceusage.serviceUsageConsumer",
  ])

  project = google_project.this["images"].project_id
  role    = each.key
  member  = google_service_account.pipeline[0].member
}

resource "google_service_account_iam_member" "builds_as" {
  count = var.github == null ? 0 : 1

  service_account_id = google_service_account.build["images"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.pipeline[0].member
}

# The source archives of the builds: gcloud uploads them with the account of the pipeline or the operator. A bucket that
# it would create itself has no uniform access, which new organisations refuse.
resource "google_storage_bucket" "sources" {
  for_each = local.projects

  project                     = google_project.this[each.key].project_id
  name                        = "${local.projects[each.key]}-sources"
  location                    = local.regions[each.key]
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true

  lifecycle_rule {
    action { type = "Delete" }
    condition { age = 30 }
  }

  depends_on = [google_project_service.first]
}

resource "google_storage_bucket_iam_member" "build" {
  for_each = local.projects

  bucket = google_storage_bucket.sources[each.key].name
  role   = "roles/storage.objectViewer"
  member = google_service_account.build[each.key].member
}

resource "google_storage_bucket_iam_member" "sources" {
  for_each = var.github == null ? [] : toset(["roles/storage.objectUser", "roles/storage.legacyBucketReader"])

  bucket = google_storage_bucket.sources["images"].name
  role   = each.key
  member = google_service_account.pipeline[0].member
}
