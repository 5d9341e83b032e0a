# Secret Manager: each secret is read by those who need it and by nobody else, and each reading is recorded.

locals {
  # By the secret's id: who reads it.
  secret_readers = merge(
    { for member in keys(local.database_groups) : "progress-neon-url-${member}" => [member] if local.has_neon },
    { for database in local.databases : "progress-${replace(database, "_", "-")}-url-owner" => ["release"] },
    { for database in local.databases : "progress-${replace(database, "_", "-")}-logins" => ["release"] },
    { for name in ["progress-redis-url"] : name => ["project", "query", "batch", "release"] if local.has_memorystore },
  )

  neon_at = local.has_neon ? "${var.neon.host}/${var.neon.database}?sslmode=verify-full" : ""

  secret_values = merge(
    { for member in keys(local.database_groups) : "progress-neon-url-${member}" =>
    "postgresql://progress_${member}_login:${terraform_data.password[member].output}@${local.neon_at}" if local.has_neon },
    { for name in ["progress-neon-logins"] : name => local.neon_logins if local.has_neon },
    { for name in ["progress-cloud-sql-logins"] : name => local.cloud_sql_logins if local.has_cloud_sql },
    # Its certificate is of the instance's own authority; the address is private.
    { for name in ["progress-cloud-sql-url-owner"] : name => format("postgresql://%s:%s@%s/%s?sslmode=require",
      google_sql_user.owner[0].name,
      terraform_data.password["owner"].output,
      google_sql_database_instance.this[0].private_ip_address,
    google_sql_database.this[0].name) if local.has_cloud_sql },
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

resource "google_secret_manager_secret_version" "this" {
  for_each = { for name in keys(local.secret_readers) : name => name if name != "progress-neon-url-owner" }

  secret      = google_secret_manager_secret.this[each.key].id
  secret_data = local.secret_values[each.key]
}

# What the operator gives stays out of the state. Where nothing was given, the release job's error says what to do.
resource "google_secret_manager_secret_version" "neon_owner" {
  count = local.has_neon ? 1 : 0

  secret                 = google_secret_manager_secret.this["progress-neon-url-owner"].id
  secret_data_wo         = var.neon_owner_password == null ? "postgresql://give-neon_owner_password-and-raise-its-version.invalid/" : "postgresql://${urlencode(var.neon.owner)}:${urlencode(var.neon_owner_password)}@${local.neon_at}"
  secret_data_wo_version = var.neon_owner_password_version
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
