# Cloud Storage buckets for archived events, dumps of the log, and exported files.

variable "archive_buckets" {
  # Here, buckets are parts of the archive (docs/operations.md). docs/scale.md says how many a large log needs.
  description = "The number of buckets of a new archive: 16, 64 or 256; an existing archive keeps its number."
  type        = number
  default     = 16

  validation {
    condition     = contains([16, 64, 256], var.archive_buckets)
    error_message = "expected 16, 64 or 256"
  }
}

locals {
  archive_environment = {
    ARCHIVE_BUCKET  = google_storage_bucket.archive.name
    ARCHIVE_BUCKETS = tostring(var.archive_buckets)
  }
  exports_environment = { EXPORTS_BUCKET = google_storage_bucket.exports.name }

  # IAM conditions for the accounts that read the archive. The conditions exclude the object `erasures/key`. Anyone who
  # has this key and a learner's id can compute the learner's digest, and so find out whether the learner was erased.
  archive_objects = "projects/_/buckets/${google_storage_bucket.archive.name}/objects"
  archive_folders = {
    for name in ["ranges", "rebuilds"] : name => "resource.name.startsWith('${local.archive_objects}/${name}/')"
  }
}

# Archived events. In prod, the bucket cannot be deleted while it holds objects: the archive is kept longer than the
# backups of the database, so it may be the last copy of the events. The bucket has no retention lock and no soft
# delete, because either would keep the events of erased learners. An erasure deletes the learner's events in all
# generations of the bucket's objects.
resource "google_storage_bucket" "archive" {
  name                        = "${var.project_id}-progress-archive"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !local.is_prod

  soft_delete_policy { retention_duration_seconds = 0 }

  versioning { enabled = true }

  # Objects that were replaced or deleted by mistake can be restored for 30 days.
  lifecycle_rule {
    action { type = "Delete" }
    condition {
      days_since_noncurrent_time = 30
      with_state                 = "ARCHIVED"
    }
  }

  dynamic "lifecycle_rule" {
    for_each = { NEARLINE = 30, COLDLINE = 90, ARCHIVE = 365 } # days

    content {
      action {
        type          = "SetStorageClass"
        storage_class = lifecycle_rule.key
      }
      condition {
        age        = lifecycle_rule.value
        with_state = "LIVE"
      }
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_storage_bucket_iam_member" "archive" {
  for_each = toset(["project", "release"]) # the release job also erases (`progress erasures apply`)

  bucket = google_storage_bucket.archive.name
  role   = "roles/storage.objectUser"
  member = google_service_account.member[each.key].member
}

# During a rebuild, the job `progress-rebuild` reads the archive. It computes some tables once for all of its processes,
# and stores them as temporary files in the folder `rebuilds`. Without the permission to list all objects, Cloud Storage
# responds with 403 instead of 404 if an object is missing.
resource "google_storage_bucket_iam_member" "rebuild" {
  for_each = {
    "roles/storage.objectViewer" = {
      title      = "what a rebuild reads"
      expression = join(" || ", values(local.archive_folders))
    }
    "roles/storage.objectUser" = {
      title      = "the folder rebuilds"
      expression = local.archive_folders["rebuilds"]
    }
    "roles/storage.legacyBucketReader" = null
  }

  bucket = google_storage_bucket.archive.name
  role   = each.key
  member = google_service_account.member["rebuild"].member

  dynamic "condition" {
    for_each = each.value[*]
    content {
      title      = condition.value.title
      expression = condition.value.expression
    }
  }
}

# Daily dumps of a log in Neon, in the folder `log`. A move from Neon to Cloud SQL also stores its dump here. Deleted
# objects can be restored for a week, because these may be the only backups. The receipt of an erasure reads both times
# from the bucket.
resource "google_storage_bucket" "backup" {
  name                        = "${var.project_id}-progress-backup"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !local.is_prod

  soft_delete_policy {
    retention_duration_seconds = 7 * 24 * 60 * 60 # Google's default
  }

  lifecycle_rule {
    action { type = "Delete" }
    condition { age = local.dump_days }
  }

  depends_on = [google_project_service.api]
}

resource "google_storage_bucket_iam_member" "backup" {
  for_each = {
    backup  = "roles/storage.objectUser"
    release = "roles/storage.objectViewer" # restores
  }

  bucket = google_storage_bucket.backup.name
  role   = each.value
  member = google_service_account.member[each.key].member
}

# Permission to read the bucket's settings, for the receipts of erasures.
resource "google_storage_bucket_iam_member" "backup_settings" {
  for_each = toset(["project", "release"]) # the release job also erases (`progress erasures apply`)

  bucket = google_storage_bucket.backup.name
  role   = "roles/storage.legacyBucketReader"
  member = google_service_account.member[each.key].member
}

# Exported files, which learners download. They hold personal data, so no copy is kept for more than a week.
resource "google_storage_bucket" "exports" {
  name                        = "${var.project_id}-progress-exports"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !local.is_prod

  soft_delete_policy { retention_duration_seconds = 0 }

  lifecycle_rule {
    action { type = "Delete" }
    condition { age = 7 }
  }

  depends_on = [google_project_service.api]
}

resource "google_storage_bucket_iam_member" "exports" {
  for_each = {
    project = "roles/storage.objectUser"
    release = "roles/storage.objectUser"   # `progress erasures apply` deletes exports
    query   = "roles/storage.objectViewer" # a download by a signed URL uses this account's role
  }

  bucket = google_storage_bucket.exports.name
  role   = each.value
  member = google_service_account.member[each.key].member
}
