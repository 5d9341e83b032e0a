# Cloud SQL: the instance, its users and their roles.

variable "cloud_sql_tier" {
  description = "The machine type of Cloud SQL; null: the environment's default."
  type        = string
  default     = null
}

variable "cloud_sql_deletion_protection" {
  description = "Whether the Cloud SQL instance is protected against deletion; null: only in prod."
  type        = bool
  default     = null
}

variable "cloud_sql_disk_limit_gb" {
  # A disk never shrinks. At the limit, events cannot be recorded. The alert database-limits fires at 80 % of the limit.
  description = "The size in GB up to which Cloud SQL's disk grows automatically; null: the environment's default."
  type        = number
  default     = null

  validation {
    condition = (
      var.cloud_sql_disk_limit_gb == null || try(var.cloud_sql_disk_limit_gb >= local.cloud_sql_size.disk_gb, false)
    )
    error_message = "expected at least the disk's initial size, ${local.cloud_sql_size.disk_gb}"
  }
}

locals {
  cloud_sql_protected     = coalesce(var.cloud_sql_deletion_protection, local.is_prod)
  cloud_sql_disk_limit_gb = coalesce(var.cloud_sql_disk_limit_gb, local.cloud_sql_size.disk_limit_gb)

  # `connections` is the value of max_connections. It exceeds the number of connections that the functions open during a
  # release, when instances of the new revisions (green) run beside those of the old revisions.
  cloud_sql_size = {
    dev     = { tier = "db-g1-small", availability = "ZONAL", connections = 180, disk_gb = 10, disk_limit_gb = 20 }
    staging = { tier = "db-custom-1-3840", availability = "ZONAL", connections = 180, disk_gb = 10, disk_limit_gb = 20 }
    prod = {
      tier    = "db-custom-2-8192", availability = "REGIONAL", connections = 780
      disk_gb = 50, disk_limit_gb = 500
    }
  }[var.environment]

  cloud_sql_logins = join(" ", [
    for member, group in local.database_groups : "${group}=${google_sql_user.member[member].name}"
    if local.has_cloud_sql
  ])
}

resource "google_sql_database_instance" "this" {
  count = local.has_cloud_sql ? 1 : 0

  name                = "progress"
  region              = var.region
  database_version    = "POSTGRES_18"
  deletion_protection = local.cloud_sql_protected

  settings {
    tier                        = coalesce(var.cloud_sql_tier, local.cloud_sql_size.tier)
    edition                     = "ENTERPRISE" # from PostgreSQL 16 on, the default is ENTERPRISE_PLUS, which costs more
    availability_type           = local.cloud_sql_size.availability
    disk_type                   = "PD_SSD"
    disk_size                   = local.cloud_sql_size.disk_gb
    disk_autoresize             = true
    disk_autoresize_limit       = local.cloud_sql_disk_limit_gb
    deletion_protection_enabled = local.cloud_sql_protected

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.this[0].id
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

    # The final backup is kept after the instance is deleted.
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
        log_min_duration_statement    = "-1" # off: statements may contain learners' data
      }

      content {
        name  = database_flags.key
        value = database_flags.value
      }
    }
  }

  lifecycle {
    ignore_changes = [settings[0].disk_size] # the disk grows automatically
  }

  depends_on = [google_service_networking_connection.private_services]
}

resource "google_sql_database" "this" {
  count = local.has_cloud_sql ? 1 : 0

  name            = "progress"
  instance        = google_sql_database_instance.this[0].name
  deletion_policy = "ABANDON" # a database in use cannot be deleted on its own, only with its instance
}

# The release job applies migrations as this user. All other services and jobs log in with their service accounts.
resource "google_sql_user" "owner" {
  count = local.has_cloud_sql ? 1 : 0

  name            = "progress_owner"
  instance        = google_sql_database_instance.this[0].name
  deletion_policy = "ABANDON" # a user that owns schemas cannot be deleted

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
    for pair in setproduct(keys(local.database_groups), ["client", "instanceUser"]) :
    "${pair[0]}-${pair[1]}" => { member = pair[0], role = pair[1] }
  } : {}

  project = var.project_id
  role    = "roles/cloudsql.${each.value.role}"
  member  = google_service_account.member[each.value.member].member
}
