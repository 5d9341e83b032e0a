# Database passwords. They are ephemeral, so plans and the state do not contain them. Each run of Terraform generates
# new passwords, but writes a password only if the password's version differs from the version in the state.

variable "neon_owner_password" {
  # Terraform writes it to Secret Manager with the first apply, and again when neon_owner_password_version is raised.
  description = "The password of Neon's owner (TF_VAR_neon_owner_password); plans and the state do not contain it."
  type        = string
  default     = null
  ephemeral   = true
  sensitive   = true
}

variable "neon_owner_password_version" {
  description = "The version of neon_owner_password; raise it by one when the password or var.neon changes."
  type        = number
  default     = 1
}

variable "password_version" {
  # This version applies to the generated passwords: those of Neon's logins and of Cloud SQL's owner. If the apply fails
  # after you raised the version, raise it again, because a login and its secret may now have different passwords. Do
  # not raise the version during a database migration.
  description = "The version of the generated passwords; raise it by one to rotate all of them."
  type        = number
  default     = 1

  validation {
    condition     = var.password_version >= 1 && floor(var.password_version) == var.password_version
    error_message = "expected a positive integer"
  }
}

# The passwords of Neon's logins and of Cloud SQL's owner. Cloud SQL's other logins use IAM.
ephemeral "random_password" "database" {
  for_each = toset(concat(
    local.has_neon ? keys(local.database_groups) : [],
    local.has_cloud_sql ? ["owner"] : [],
  ))

  length  = 40
  special = false # the passwords are parts of URLs
}

locals {
  # A login and the secrets with its password share one version, which changes with the database's address. Terraform
  # writes a write-only value only when its version changes, and each run generates new passwords. If a new address
  # changed only the version of the secrets, the secrets would get a password that the login does not have.
  password_facts = merge(
    { for id in ["neon"] : id => [keys(local.database_groups), var.neon.host, var.neon.database] if local.has_neon },
    { for id in ["cloud_sql"] : id => google_sql_database_instance.this[*].private_ip_address if local.has_cloud_sql },
  )
  # From such a number, infra/preflight reads the password_version (the digits before the last nine).
  password_version_numbers = {
    for database, facts in local.password_facts :
    database => var.password_version * 1000000000 + parseint(substr(sha256(jsonencode(facts)), 0, 7), 16)
  }

  neon_address = local.has_neon ? "${var.neon.host}/${var.neon.database}?sslmode=verify-full" : ""

  neon_logins = join(" ", [
    for member, group in local.database_groups :
    "${group}=progress_${member}_login:${ephemeral.random_password.database[member].result}" if local.has_neon
  ])

  # Each key is the id of a secret with passwords. Its value is the database that accepts these passwords.
  password_secrets = merge(
    { for member in keys(local.database_groups) : "progress-neon-url-${member}" => "neon" if local.has_neon },
    { for name in ["progress-neon-logins"] : name => "neon" if local.has_neon },
    { for name in ["progress-cloud-sql-url-owner"] : name => "cloud_sql" if local.has_cloud_sql },
  )

  password_values = merge(
    {
      for member in keys(local.database_groups) : "progress-neon-url-${member}" => join("", [
        "postgresql://progress_${member}_login:${ephemeral.random_password.database[member].result}",
        "@${local.neon_address}",
      ]) if local.has_neon
    },
    { for name in ["progress-neon-logins"] : name => local.neon_logins if local.has_neon },
    # sslmode=require encrypts the connection, but does not verify the server's certificate. (The instance's own
    # authority has signed the certificate.) Encryption is enough, because the address is private.
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

# The URL of Neon's owner, with the password that the operator sets. If no password is set, the URL is a placeholder.
# The release job then fails, and its error shows the placeholder, which says what to do.
resource "google_secret_manager_secret_version" "neon_owner" {
  count = local.has_neon ? 1 : 0

  secret = google_secret_manager_secret.this["progress-neon-url-owner"].id
  secret_data_wo = (
    var.neon_owner_password == null
    ? "postgresql://give-neon_owner_password-and-raise-its-version.invalid/"
    : "postgresql://${urlencode(var.neon.owner)}:${urlencode(var.neon_owner_password)}@${local.neon_address}"
  )
  secret_data_wo_version = var.neon_owner_password_version
  deletion_policy        = "ABANDON"
}
