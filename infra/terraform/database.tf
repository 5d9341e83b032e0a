# The database: Neon or Cloud SQL. docs/runbook.md says how to move from one to the other.
variable "database" {
  description = "The database that the functions use: neon or cloud_sql."
  type        = string
  default     = "neon"

  validation {
    condition     = contains(["neon", "cloud_sql"], var.database)
    error_message = "expected neon or cloud_sql"
  }
}

variable "migration_target" {
  description = "The new database, during a migration. The release job uses it. For cloud_sql, Terraform creates it."
  type        = string
  default     = null

  validation {
    condition = var.migration_target == null || contains(
      setsubtract(["neon", "cloud_sql"], [var.database]), coalesce(var.migration_target, "none")
    )
    error_message = "expected null, neon or cloud_sql, but not the value of var.database"
  }
}

variable "former_database" {
  description = "The database that was used before a migration. It keeps its data and logins while this input is set."
  type        = string
  default     = null

  validation {
    condition = var.former_database == null || contains(
      setsubtract(["neon", "cloud_sql"], [var.database]), coalesce(var.former_database, "none")
    )
    error_message = "expected null, neon or cloud_sql, but not the value of var.database"
  }

  validation {
    condition     = var.former_database == null || var.migration_target == null
    error_message = "expected null while migration_target is set"
  }
}

variable "neon" {
  description = "The Neon database: the direct endpoint's host (not the pooler's), the name, and the owner's role."
  type = object({
    host     = string
    database = optional(string, "neondb") # the names that Neon itself gives
    owner    = optional(string, "neondb_owner")
  })
  default = null

  validation {
    condition = var.neon == null || can(regex("^[a-z0-9.-]+$", var.neon.host))
    error_message = join("", [
      "expected only the host, such as ep-name-1234.eu-central-1.aws.neon.tech: ",
      "the part between @ and / of Neon's connection string",
    ])
  }

  validation {
    condition     = var.neon == null || !can(regex("-pooler\\.", var.neon.host))
    error_message = "expected the direct endpoint: the folds need sessions, which the pooler does not keep"
  }

  validation {
    condition = var.neon != null || !contains(
      [for name in [var.database, var.migration_target, var.former_database] : coalesce(name, "none")], "neon"
    )
    error_message = "expected var.neon to be set, because neon is a database of this environment"
  }
}

variable "database_analysts" {
  description = "Who may query every learner's read models with SQL, such as user:ana@example.com."
  type        = list(string)
  default     = []
}

locals {
  databases        = toset(compact([var.database, var.migration_target, var.former_database]))
  has_cloud_sql    = contains(local.databases, "cloud_sql")
  has_neon         = contains(local.databases, "neon")
  release_database = coalesce(var.migration_target, var.database)

  # The database analysts share one login, whose service account each of them may impersonate (docs/analysis.md).
  analyst = toset(length(var.database_analysts) > 0 ? ["analyst"] : [])

  # The group role of each login. The release job has no such login, because it logs in as the owner.
  database_groups = merge({ rebuild = "progress_project" }, {
    for name in concat(["ingest", "project", "query", "batch", "backup"], tolist(local.analyst)) :
    name => "progress_${name}"
  })

  # The database settings of each service and job: plain values, and the ids of secrets. The Terraform block of a
  # service or job with secrets needs a `depends_on` for the grants on the secrets, and for the secrets' versions (see
  # secrets.tf).
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
    {
      for member in keys(local.database_groups) : member => {
        for name in ["DATABASE_URL"] : name =>
        google_secret_manager_secret.this["progress-neon-url-${member}"].secret_id
        if var.database == "neon"
      }
    },
    {
      release = {
        for name, secret in { DATABASE_URL = "url-owner", DATABASE_LOGINS = "logins" } : name =>
        google_secret_manager_secret.this["progress-${replace(local.release_database, "_", "-")}-${secret}"].secret_id
      }
    },
  )
}

resource "google_service_account_iam_member" "analyst" {
  for_each = toset(var.database_analysts)

  service_account_id = google_service_account.member["analyst"].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.value
}
