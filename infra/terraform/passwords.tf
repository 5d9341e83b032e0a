# Passwords of the database. They are in no plan and no state: each run of Terraform makes others, and writes them only where
# a version differs from the one in the state.

variable "neon_owner_password" {
  description = "The password of Neon's owner (TF_VAR_neon_owner_password). Given with the first apply, it goes to Secret Manager and into no plan and no state; given again, it goes there when neon_owner_password_version rises."
  type        = string
  default     = null
  ephemeral   = true
  sensitive   = true
}

variable "neon_owner_password_version" {
  description = "Raised by one each time neon_owner_password is given anew."
  type        = number
  default     = 1
}

variable "password_version" {
  description = "Raised by one to give all logins with a password another: Neon's, and Cloud SQL's owner. After an apply that failed, raised again: the logins and the secrets written by then may differ. Not while the database is being moved."
  type        = number
  default     = 1

  validation {
    condition     = var.password_version >= 1 && floor(var.password_version) == var.password_version
    error_message = "expected 1, 2 and so on"
  }
}

# Of Neon's logins, and of Cloud SQL's owner. Cloud SQL's other logins are IAM's and have none.
ephemeral "random_password" "database" {
  for_each = toset(concat(
    local.has_neon ? keys(local.database_groups) : [],
    local.has_cloud_sql ? ["owner"] : [],
  ))

  length  = 40
  special = false # it stands in URLs
}

locals {
  # A write-only value is written again when its version changes. A login and the secrets that tell its password change together,
  # so they share one version: also where only the address changes.
  password_versions = merge(
    { for name in ["neon"] : name => [var.password_version, keys(local.database_groups), var.neon.host, var.neon.database] if local.has_neon },
    { for name in ["cloud_sql"] : name => [var.password_version, google_sql_database_instance.this[0].private_ip_address] if local.has_cloud_sql },
  )
  password_version_numbers = {
    for database, facts in local.password_versions : database => parseint(substr(sha256(jsonencode(facts)), 0, 12), 16)
  }

  neon_at = local.has_neon ? "${var.neon.host}/${var.neon.database}?sslmode=verify-full" : ""

  neon_logins = join(" ", [for member, group in local.database_groups : "${group}=progress_${member}_login:${ephemeral.random_password.database[member].result}" if local.has_neon])

  # By the secret's id: the database whose passwords it holds.
  password_secrets = merge(
    { for member in keys(local.database_groups) : "progress-neon-url-${member}" => "neon" if local.has_neon },
    { for name in ["progress-neon-logins"] : name => "neon" if local.has_neon },
    { for name in ["progress-cloud-sql-url-owner"] : name => "cloud_sql" if local.has_cloud_sql },
  )

  password_values = merge(
    { for member in keys(local.database_groups) : "progress-neon-url-${member}" =>
    "postgresql://progress_${member}_login:${ephemeral.random_password.database[member].result}@${local.neon_at}" if local.has_neon },
    { for name in ["progress-neon-logins"] : name => local.neon_logins if local.has_neon },
    # Its certificate is of the instance's own authority; the address is private.
    { for name in ["progress-cloud-sql-url-owner"] : name => format("postgresql://%s:%s@%s/%s?sslmode=require",
      google_sql_user.owner[0].name,
      ephemeral.random_password.database["owner"].result,
      google_sql_database_instance.this[0].private_ip_address,
    google_sql_database.this[0].name) if local.has_cloud_sql },
  )
}

resource "google_secret_manager_secret_version" "password" {
  for_each = local.password_secrets

  secret                 = google_secret_manager_secret.this[each.key].id
  secret_data_wo         = local.password_values[each.key]
  secret_data_wo_version = local.password_version_numbers[each.value]
  deletion_policy        = "ABANDON"
}

# The operator's own. Where nothing was given, the release job's error says what to do.
resource "google_secret_manager_secret_version" "neon_owner" {
  count = local.has_neon ? 1 : 0

  secret                 = google_secret_manager_secret.this["progress-neon-url-owner"].id
  secret_data_wo         = var.neon_owner_password == null ? "postgresql://give-neon_owner_password-and-raise-its-version.invalid/" : "postgresql://${urlencode(var.neon.owner)}:${urlencode(var.neon_owner_password)}@${local.neon_at}"
  secret_data_wo_version = var.neon_owner_password_version
  deletion_policy        = "ABANDON"
}
