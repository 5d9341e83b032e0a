# Secrets, each with the accounts that may read it. The audit log records every access.

locals {
  # For each secret's id, the accounts that may read the secret.
  secret_readers = merge(
    { for member in keys(local.database_groups) : "progress-neon-url-${member}" => [member] if local.has_neon },
    { for database in local.databases : "progress-${replace(database, "_", "-")}-url-owner" => ["release"] },
    { for database in local.databases : "progress-${replace(database, "_", "-")}-logins" => ["release"] },
    { for name in ["progress-redis-url"] : name => ["project", "query", "release"] if local.has_memorystore },
  )

  secret_values = merge(
    { for name in ["progress-cloud-sql-logins"] : name => local.cloud_sql_logins if local.has_cloud_sql },
    { for name in ["progress-redis-url"] : name => local.redis_url if local.has_memorystore },
  )
}

resource "google_secret_manager_secret" "this" {
  for_each = local.secret_readers

  secret_id = each.key

  # In prod, only the secrets of the database in use are protected. The secrets of a former database are removed with
  # that database. Redis's secret needs no protection, because it can be created again from the Redis instance.
  deletion_protection = local.is_prod && startswith(each.key, "progress-${replace(var.database, "_", "-")}-")

  replication {
    user_managed {
      replicas { location = var.region }
    }
  }

  depends_on = [google_project_service.api]
}

# Terraform keeps old versions, so that `latest` always exists. An operator destroys old versions (docs/runbook.md).
resource "google_secret_manager_secret_version" "this" {
  for_each = toset(keys(local.secret_values))

  secret          = google_secret_manager_secret.this[each.key].id
  secret_data     = local.secret_values[each.key]
  deletion_policy = "ABANDON"
}

# Access is granted early, before the secrets have versions. Services and jobs with secrets depend on both the grant and
# the version.
resource "google_secret_manager_secret_iam_member" "accessor" {
  for_each = merge([
    for name, readers in local.secret_readers : {
      for reader in readers : "${name}:${reader}" => { secret = name, reader = reader }
    }
  ]...)

  secret_id = google_secret_manager_secret.this[each.value.secret].id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.member[each.value.reader].member
}

# Until a grant takes effect, typically within two minutes, Cloud Run rejects a revision whose account cannot read the
# revision's secrets, and Pub/Sub a subscription whose rows it cannot write:
# https://docs.cloud.google.com/iam/docs/access-change-propagation
resource "terraform_data" "grants" {
  triggers_replace = [keys(google_secret_manager_secret_iam_member.accessor), keys(google_project_iam_member.member)]

  provisioner "local-exec" { command = "sleep 120" }

  depends_on = [google_bigquery_table_iam_member.pubsub, google_logging_metric.field] # for the metrics, see slos.tf
}

# Log each access to a secret, and to an object in a bucket: archive, backups and exports have learners' data. Instances
# read secrets only when they start, so there are few entries.
resource "google_project_iam_audit_config" "access" {
  for_each = { secretmanager = ["DATA_READ"], storage = ["DATA_READ", "DATA_WRITE"] }

  project = var.project_id
  service = "${each.key}.googleapis.com"

  dynamic "audit_log_config" {
    for_each = each.value

    content { log_type = audit_log_config.value }
  }
}
