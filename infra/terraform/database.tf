# The database, by a switch, and the way from one to the other:
#
#   1. migration_target = "cloud_sql" (or "neon", with var.neon filled in); apply. The new database is made beside the
#      present one, which the functions go on using. The release job alone now works on the new one: run it once
#      (`gcloud run jobs execute progress-release`), and the new database has schemas, roles and logins. No release meanwhile.
#   2. Hold what writes, copy, compare: docs/runbook.md.
#   3. database = the new one, migration_target = null, former_database = the former one; apply, and deploy new revisions: all
#      work on the new one, and the former one stays as it was. To go back: move to it again, with former_database = null.
#   4. former_database = null; apply. The former one's logins and secrets are removed, Cloud SQL itself with all that is in
#      it; in prod that takes cloud_sql_deletion_protection = false applied before.

variable "database" {
  description = "neon or cloud_sql: the database that the functions use."
  type        = string
  default     = "neon"

  validation {
    condition     = contains(["neon", "cloud_sql"], var.database)
    error_message = "expected neon or cloud_sql"
  }
}

variable "migration_target" {
  description = "For the time of a move, the other database: it is made (or kept), and the release job works on it."
  type        = string
  default     = null

  validation {
    condition     = var.migration_target == null || contains(setsubtract(["neon", "cloud_sql"], [var.database]), coalesce(var.migration_target, "none"))
    error_message = "expected null, or the one of neon and cloud_sql that var.database is not"
  }
}

variable "former_database" {
  description = "For the week after a move, the former database: it is kept with its logins, and nobody works on it."
  type        = string
  default     = null

  validation {
    condition     = var.former_database == null || contains(setsubtract(["neon", "cloud_sql"], [var.database]), coalesce(var.former_database, "none"))
    error_message = "expected null, or the one of neon and cloud_sql that var.database is not"
  }

  validation {
    condition     = var.former_database == null || var.migration_target == null
    error_message = "expected null while migration_target is set"
  }
}

variable "neon" {
  description = "Where Neon is: the host of its direct endpoint (not the pooler's), the database, and the role that owns it."
  type        = object({ host = string, database = string, owner = string })
  default     = null

  validation {
    condition     = var.neon == null || !can(regex("-pooler\\.", var.neon.host))
    error_message = "expected the direct endpoint: the pooler's keeps no session, which the folds need"
  }

  validation {
    condition     = var.neon != null || !contains([for each in [var.database, var.migration_target, var.former_database] : coalesce(each, "none")], "neon")
    error_message = "Neon is the database: say where it is"
  }
}

variable "database_instance" {
  description = "The name of Cloud SQL's instance. After a restore beside it, the restored one's: Terraform must have been told before that it stands in the old one's place, or it would replace one by an empty one: terraform state rm, then import, of google_sql_database_instance.this[0], google_sql_database.this[0], google_sql_user.owner[0] and each google_sql_user.member."
  type        = string
  default     = "progress"
}

variable "cloud_sql_version" {
  description = "Any from POSTGRES_15 on."
  type        = string
  default     = "POSTGRES_18"

  validation {
    condition     = try(tonumber(trimprefix(var.cloud_sql_version, "POSTGRES_")) >= 15, false)
    error_message = "expected POSTGRES_15 or newer"
  }
}

variable "cloud_sql_tier" {
  description = "The machine; null for the environment's usual one."
  type        = string
  default     = null
}

variable "cloud_sql_deletion_protection" {
  description = "Whether Cloud SQL refuses to be deleted; null: in prod."
  type        = bool
  default     = null
}

variable "cloud_sql_disk_limit_gb" {
  description = "The disk of Cloud SQL grows by itself up to this size, and never shrinks; null for the environment's usual one. At the limit nothing is recorded: the alert database-limits comes first."
  type        = number
  default     = null

  validation {
    condition     = var.cloud_sql_disk_limit_gb == null || try(var.cloud_sql_disk_limit_gb >= local.cloud_sql_size.disk_gb, false)
    error_message = "expected at least the disk's first size, ${local.cloud_sql_size.disk_gb}"
  }
}

locals {
  databases     = toset(compact([var.database, var.migration_target, var.former_database]))
  has_cloud_sql = contains(local.databases, "cloud_sql")
  has_neon      = contains(local.databases, "neon")
  released_to   = coalesce(var.migration_target, var.database)

  # Who logs in, and the group whose rights that login has. The release job is the owner.
  database_groups = {
    ingest  = "progress_ingest"
    project = "progress_project"
    query   = "progress_query"
    batch   = "progress_batch"
    backup  = "progress_query"
  }

  cloud_sql_protected = coalesce(var.cloud_sql_deletion_protection, local.is_prod)

  # `connections`: more than all instances together may open, a release's candidates among them.
  cloud_sql_size = {
    dev     = { tier = "db-g1-small", disk_gb = 10, disk_limit_gb = 20, availability = "ZONAL", connections = 180 }
    staging = { tier = "db-custom-1-3840", disk_gb = 10, disk_limit_gb = 20, availability = "ZONAL", connections = 180 }
    prod    = { tier = "db-custom-2-8192", disk_gb = 50, disk_limit_gb = 500, availability = "REGIONAL", connections = 780 }
  }[var.environment]

  # What a service or job is told of the database, in plain words and as secrets (by the secret's id).
  # Who takes secrets must depend on the right to them and on their versions: secrets.tf.
  database_environment = {
    for member in concat(keys(local.database_groups), ["release"]) : member => merge(
      { for name, value in {
        INSTANCE_CONNECTION_NAME = one(google_sql_database_instance.this[*].connection_name)
        DB_NAME                  = one(google_sql_database.this[*].name)
        DB_IAM_USER              = try(google_sql_user.member[member].name, null)
        CLOUD_SQL_ADDRESS        = one(google_sql_database_instance.this[*].private_ip_address) # for the start-up probe
      } : name => value if var.database == "cloud_sql" && member != "release" }
    )
  }
  database_secrets = merge(
    { for member in keys(local.database_groups) : member =>
    { for name in ["DATABASE_URL"] : name => google_secret_manager_secret.this["progress-neon-url-${member}"].secret_id if var.database == "neon" } },
    { release = {
      DATABASE_URL    = google_secret_manager_secret.this["progress-${replace(local.released_to, "_", "-")}-url-owner"].secret_id
      DATABASE_LOGINS = google_secret_manager_secret.this["progress-${replace(local.released_to, "_", "-")}-logins"].secret_id
    } },
  )

  cloud_sql_logins = join(" ", [for member, group in local.database_groups : "${group}=${google_sql_user.member[member].name}" if local.has_cloud_sql])
}

resource "google_sql_database_instance" "this" {
  count = local.has_cloud_sql ? 1 : 0

  name                = var.database_instance
  region              = var.region
  database_version    = var.cloud_sql_version
  deletion_protection = local.cloud_sql_protected

  settings {
    tier                        = coalesce(var.cloud_sql_tier, local.cloud_sql_size.tier)
    edition                     = "ENTERPRISE" # from 16 on the service would choose the dearer one
    availability_type           = local.cloud_sql_size.availability
    disk_type                   = "PD_SSD"
    disk_size                   = local.cloud_sql_size.disk_gb
    disk_autoresize             = true
    disk_autoresize_limit       = coalesce(var.cloud_sql_disk_limit_gb, local.cloud_sql_size.disk_limit_gb)
    deletion_protection_enabled = local.cloud_sql_protected

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.this.id
      ssl_mode        = "ENCRYPTED_ONLY"
    }

    backup_configuration {
      enabled                        = true
      start_time                     = "02:00"
      point_in_time_recovery_enabled = true
      transaction_log_retention_days = 7

      backup_retention_settings {
        retained_backups = 7
        retention_unit   = "COUNT"
      }
    }

    # Who deletes the instance has its data for so long.
    final_backup_config {
      enabled        = true
      retention_days = local.is_prod ? 30 : 7
    }

    maintenance_window {
      day          = 7
      hour         = 3
      update_track = "stable"
    }

    insights_config {
      query_insights_enabled  = true
      record_application_tags = true
      record_client_address   = false
    }

    dynamic "database_flags" {
      for_each = {
        "cloudsql.iam_authentication" = "on"
        max_connections               = tostring(local.cloud_sql_size.connections)
        log_checkpoints               = "on"
        log_connections               = "on"
        log_disconnections            = "on"
        log_lock_waits                = "on"
        log_temp_files                = "0"
        log_min_messages              = "error"
        log_min_error_statement       = "error"
        log_min_duration_statement    = "-1" # a statement's values may be a learner's
      }

      content {
        name  = database_flags.key
        value = database_flags.value
      }
    }
  }

  lifecycle {
    ignore_changes = [settings[0].disk_size] # it grows by itself
  }

  depends_on = [google_service_networking_connection.private_services]
}

resource "google_sql_database" "this" {
  count = local.has_cloud_sql ? 1 : 0

  name            = "progress"
  instance        = google_sql_database_instance.this[0].name
  deletion_policy = "ABANDON" # it goes with the instance; the API deletes none that is in use
}

# Whom the release job logs in as, once, to migrate. All others log in as who they are.
resource "google_sql_user" "owner" {
  count = local.has_cloud_sql ? 1 : 0

  name            = "progress_owner"
  instance        = google_sql_database_instance.this[0].name
  deletion_policy = "ABANDON" # it owns the schemas

  password_wo         = ephemeral.random_password.database["owner"].result
  password_wo_version = local.password_version_numbers["cloud_sql"]
}

resource "google_sql_user" "member" {
  for_each = local.has_cloud_sql ? local.database_groups : {}

  name            = "${google_service_account.member[each.key].account_id}@${var.project_id}.iam"
  instance        = google_sql_database_instance.this[0].name
  type            = "CLOUD_IAM_SERVICE_ACCOUNT"
  deletion_policy = "ABANDON"
}

resource "google_project_iam_member" "cloud_sql" {
  for_each = local.has_cloud_sql ? {
    for pair in setproduct(keys(local.database_groups), ["client", "instanceUser"]) : "${pair[0]}-${pair[1]}" => { member = pair[0], role = pair[1] }
  } : {}

  project = var.project_id
  role    = "roles/cloudsql.${each.value.role}"
  member  = google_service_account.member[each.value.member].member
}

# `gcloud sql import` and `export` read and write dumps in the backup bucket as the instance.
resource "google_storage_bucket_iam_member" "cloud_sql_dumps" {
  count = var.migration_target != null ? 1 : 0

  bucket = google_storage_bucket.backup.name
  role   = "roles/storage.objectAdmin"
  member = "serviceAccount:${google_sql_database_instance.this[0].service_account_email_address}"
}
