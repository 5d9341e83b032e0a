# Secret Manager: each secret is read by those who need it and by nobody else, and each reading is recorded.

locals {
  # By the secret's id: who reads it.
  secret_readers = merge(
    { for member in keys(local.database_groups) : "progress-neon-url-${member}" => [member] if local.has_neon },
    { for database in local.databases : "progress-${replace(database, "_", "-")}-url-owner" => ["release"] },
    { for database in local.databases : "progress-${replace(database, "_", "-")}-logins" => ["release"] },
    { for name in ["progress-redis-url"] : name => ["project", "query", "batch", "release"] if local.has_memorystore },
  )

  secret_values = merge(
    { for name in ["progress-cloud-sql-logins"] : name => local.cloud_sql_logins if local.has_cloud_sql },
    { for name in ["progress-redis-url"] : name => local.redis_url if local.has_memorystore },
  )
}

resource "google_secret_manager_secret" "this" {
  for_each = local.secret_readers

  secret_id = each.key

  # In prod, of the database in use: the former one's go with it, and Redis's is made again from its instance.
  deletion_protection = local.is_prod && startswith(each.key, "progress-${replace(var.database, "_", "-")}-")

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.api]
}

# A version that another replaces stays until somebody destroys it (docs/runbook.md), so that `latest` is there at all times.
resource "google_secret_manager_secret_version" "this" {
  for_each = toset(concat(
    local.has_cloud_sql ? ["progress-cloud-sql-logins"] : [],
    local.has_memorystore ? ["progress-redis-url"] : [],
  ))

  secret          = google_secret_manager_secret.this[each.key].id
  secret_data     = local.secret_values[each.key]
  deletion_policy = "ABANDON"
}

# Given before there is anything to read: while a database is made, or an image built, the right becomes known everywhere, and
# Cloud Run refuses a revision whose account may not read its secrets. Who takes secrets waits for both: right and version.
resource "google_secret_manager_secret_iam_member" "accessor" {
  for_each = merge([
    for name, readers in local.secret_readers : { for reader in readers : "${name}:${reader}" => { secret = name, reader = reader } }
  ]...)

  secret_id = google_secret_manager_secret.this[each.value.secret].id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.member[each.value.reader].member
}

# Who read a secret, and when: an instance does when it starts, so that this log is short.
resource "google_project_iam_audit_config" "secrets" {
  project = var.project_id
  service = "secretmanager.googleapis.com"

  audit_log_config {
    log_type = "DATA_READ"
  }
}
