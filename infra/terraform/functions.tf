# The three functions. They run one image, in which FUNCTION_TARGET chooses the function.

variable "functions" {
  description = "The size of each function: CPUs, memory and concurrency of an instance, and the number of instances."
  type = map(object({
    cpu           = string
    memory        = string
    concurrency   = number
    min_instances = number # by day
    max_instances = number
  }))

  validation {
    condition     = toset(keys(var.functions)) == toset(["ingest", "project", "query"])
    error_message = "expected the sizes of ingest, project and query"
  }

  validation {
    condition = alltrue([
      for size in values(var.functions) :
      contains(["1", "2", "4", "6", "8"], size.cpu) && can(regex("^[1-9][0-9]*(Mi|Gi)$", size.memory))
    ])
    error_message = "expected 1, 2, 4, 6 or 8 CPUs, and memory such as 512Mi or 2Gi"
  }

  validation {
    condition     = alltrue([for size in values(var.functions) : size.concurrency >= 1 && size.concurrency <= 1000])
    error_message = "expected a concurrency from 1 to 1000"
  }

  validation {
    condition = alltrue([
      for size in values(var.functions) :
      size.min_instances >= 0 && size.max_instances >= max(1, size.min_instances)
    ])
    error_message = "expected min_instances >= 0, max_instances >= 1 and max_instances >= min_instances"
  }
}

variable "auth" {
  # progress/auth.py has the defaults. With "google", everybody with a Google account is a learner of their own
  # data, and nobody has a role: `gcloud auth print-identity-token` prints their token.
  description = "issuer, audience, jwks_url and sign_in_url; {} means Firebase of this project; in dev also \"google\"."
  type        = any
  default     = {}

  validation {
    condition     = var.auth != "google" || var.environment == "dev"
    error_message = "expected an issuer of your own: only dev may accept the tokens of gcloud"
  }

  validation {
    condition = var.auth == "google" || try(
      alltrue([for name, value in var.auth : contains(local.auth_fields, name) && can(tostring(value))]), false
    )
    error_message = "expected \"google\", or texts for some of ${join(", ", local.auth_fields)}"
  }
}

variable "event_posters" {
  # Each may call all of ingest: also its path for pushes.
  description = "The accounts that may post events to ingest; with any, ingest also takes requests from outside."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.event_posters : can(regex("^(serviceAccount|group|user):", member))])
    error_message = "expected accounts, such as serviceAccount:NAME@PROJECT.iam.gserviceaccount.com"
  }
}

variable "app_url" {
  description = "The learning app's address, for a button on the learner's page; null: the page has no button."
  type        = string
  default     = null
}

variable "api" {
  description = "The query function's CORS origins, its rate limit for each caller, and GraphQL introspection."
  type = object({
    cors_origins          = optional(list(string), [])
    rate_limit_per_minute = optional(number, 100)
    introspection         = optional(bool)
  })
  default = {}
}

variable "learners" {
  description = "Whether learners may post events about themselves, and how many entries all of them may post a day."
  type = object({
    may_post        = optional(bool, false)
    entries_per_day = optional(number, 1000000)
  })
  default = {}

  validation {
    condition     = var.learners.entries_per_day >= 1 && var.learners.entries_per_day % 1 == 0
    error_message = "expected a positive whole number in learners.entries_per_day"
  }
}

variable "page_pause_minutes" {
  description = "The minutes without input after which an open page closes its streams; 0: never while it is visible."
  type        = number
  default     = 0

  validation {
    condition     = var.page_pause_minutes >= 0 && floor(var.page_pause_minutes) == var.page_pause_minutes
    error_message = "expected a whole number of minutes, or 0"
  }
}

variable "database_pool" {
  description = "Each query process's limits: connections for queries, for queries about the past, and idle seconds."
  type = object({
    size          = optional(number, 10)
    past_sessions = optional(number, 3)
    idle_seconds  = optional(number, 300)
  })
  default = {}

  validation {
    condition     = alltrue([for limit in values(var.database_pool) : limit >= 1])
    error_message = "expected limits of at least 1 in database_pool"
  }
}

variable "trace_sample_ratio" {
  # The sampler decides by the trace id, so that all spans of a trace are exported or dropped together.
  description = "The share of traces to export, from 0 to 1 (see docs/cost.md)."
  type        = number
  default     = 0.1

  validation {
    condition     = var.trace_sample_ratio >= 0 && var.trace_sample_ratio <= 1
    error_message = "expected a ratio from 0 to 1"
  }
}

locals {
  # A setting that is null is left out. progress/settings.py then uses the setting's default.
  common_settings = {
    ENVIRONMENT                 = local.environment_name
    PUBSUB_PROJECT_ID           = var.project_id
    OTEL_EXPORTER_OTLP_ENDPOINT = "https://telemetry.googleapis.com"

    # Settings that the OpenTelemetry library reads. Google rejects a metric without a region. The sampler ignores the
    # caller's sampling decision, because Cloud Run's front end samples only one request in ten seconds.
    OTEL_RESOURCE_ATTRIBUTES = "cloud.provider=gcp,cloud.platform=gcp_cloud_run,cloud.region=${var.region}"
    OTEL_TRACES_SAMPLER      = "traceidratio"
    OTEL_TRACES_SAMPLER_ARG  = tostring(var.trace_sample_ratio)
  }

  auth_fields = ["issuer", "audience", "jwks_url", "sign_in_url"]
  auth = merge(
    { for name in local.auth_fields : name => null },
    { audience = var.project_id },
    # "google" is no map. This audience is that of gcloud's tokens.
    try(merge(var.auth), { audience = "32555940559.apps.googleusercontent.com" }),
  )

  query_settings = merge({ for name, value in local.auth : "AUTH_${upper(name)}" => value }, {
    APP_URL               = var.app_url
    PAGE_PAUSE_MINUTES    = tostring(var.page_pause_minutes)
    DASHBOARD_URL         = "https://console.cloud.google.com/monitoring/dashboards?project=${var.project_id}"
    RUNBOOK_URL           = var.github == null ? null : local.runbook
    CORS_ORIGINS          = length(var.api.cors_origins) == 0 ? null : join(",", var.api.cors_origins)
    RATE_LIMIT_PER_MINUTE = tostring(var.api.rate_limit_per_minute)
    TRUSTED_PROXIES       = local.has_load_balancer ? "2" : "1" # Cloud Run and the load balancer each add an address
    GRAPHQL_INTROSPECTION = var.api.introspection == null ? null : tostring(var.api.introspection)
    LEARNERS_MAY_POST     = tostring(var.learners.may_post)
    SCHEDULER_REGION      = var.region

    LEARNER_ENTRIES_PER_DAY    = tostring(var.learners.entries_per_day)
    DATABASE_POOL_SIZE         = tostring(var.database_pool.size)
    DATABASE_PAST_SESSIONS     = tostring(var.database_pool.past_sessions)
    DATABASE_POOL_IDLE_SECONDS = tostring(var.database_pool.idle_seconds)
  })

  lag_settings = {
    MAX_LAG_EVENTS        = tostring(var.max_lag_events)
    MAX_LAG_SECONDS       = tostring(var.max_lag_seconds)
    MAX_LAG_BATCH_SECONDS = tostring(local.max_lag_batch_seconds)
  }

  function_facts = {
    ingest = {
      # The ingress includes Pub/Sub. Posters may be anywhere; IAM rejects everybody else. The timeout is Pub/Sub's
      # acknowledgement deadline.
      ingress = length(var.event_posters) == 0 ? "INGRESS_TRAFFIC_INTERNAL_ONLY" : "INGRESS_TRAFFIC_ALL"
      timeout = "60s"
      health  = "/"
      public  = false
      settings = {
        THREADS = tostring(var.functions["ingest"].concurrency + 4) # 4 threads for the probes
      }
    }
    project = {
      # The timeout is for a rebuild. If Pub/Sub redelivers the rebuild's command meanwhile, the response is 429.
      ingress = "INGRESS_TRAFFIC_INTERNAL_ONLY"
      timeout = "3600s"
      health  = "/"
      public  = false
      settings = merge(local.archive_environment, local.exports_environment, local.dump_environment, {
        THREADS        = tostring(var.functions["project"].concurrency + 4)
        PUBLISH_EVENTS = var.publish_events
      })
    }
    query = {
      ingress = local.has_load_balancer ? "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" : "INGRESS_TRAFFIC_ALL"
      timeout = "3600s" # for streams
      # The liveness probe does not request /ready, because /ready fails during a database outage, and Cloud Run
      # would then restart the instance.
      health = "/health"
      public = true # learners have no Google account; the function verifies their tokens
      settings = merge(local.query_settings, local.lag_settings, local.exports_environment, {
        # One event loop for each core. On Neon, one: its connections are few, and processes cannot share them.
        WORKERS = var.database == "neon" ? "1" : var.functions["query"].cpu
      })
    }
  }

  function_secrets = {
    for name, facts in local.function_facts : name => merge(
      local.database_secrets[name], name == "ingest" ? {} : local.redis_secrets # ingest does not use Redis
    )
  }
}

# Terraform sets the size, settings and service account of each function; releases set the image and the traffic.
resource "google_cloud_run_v2_service" "function" {
  for_each = local.function_facts

  name                 = "progress-${each.key}"
  location             = var.region
  ingress              = each.value.ingress
  invoker_iam_disabled = each.value.public
  deletion_protection  = local.is_prod

  # These limits apply to the total number of instances of all revisions with traffic. The schedules for evening and
  # morning change the minimum here, which does not create a revision.
  scaling {
    min_instance_count = var.functions[each.key].min_instances
    max_instance_count = var.functions[each.key].max_instances
  }

  template {
    service_account                  = google_service_account.member[each.key].email
    timeout                          = each.value.timeout
    max_instance_request_concurrency = var.functions[each.key].concurrency
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"

    # The limit of each revision. The limits above count only revisions with traffic, so they do not limit green (a
    # release's new revision) before it gets traffic.
    scaling { max_instance_count = var.functions[each.key].max_instances }

    dynamic "vpc_access" {
      for_each = local.vpc_access[*]
      content {
        egress = vpc_access.value.egress
        network_interfaces {
          network    = vpc_access.value.network
          subnetwork = vpc_access.value.subnetwork
        }
      }
    }

    containers {
      image = local.image

      resources {
        limits            = { cpu = var.functions[each.key].cpu, memory = var.functions[each.key].memory }
        cpu_idle          = true
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = {
          for name, value in merge(
            local.common_settings, local.database_environment[each.key], each.value.settings,
            { FUNCTION_TARGET = each.key }
          ) : name => value if value != null
        }
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = local.function_secrets[each.key]
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value
              version = "latest"
            }
          }
        }
      }

      # In its first 20 to 80 s, a new instance cannot reach private addresses. The path /startup fails until the
      # database and Redis accept TCP connections. After 120 s the probe passes in any case, so that instances can start
      # during a database outage.
      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 2
        failure_threshold = 90
        http_get { path = "/startup" }
      }

      liveness_probe {
        period_seconds    = 30
        timeout_seconds   = 10
        failure_threshold = 3
        http_get { path = each.value.health }
      }
    }
  }

  traffic {
    type    = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
    percent = 100
  }

  lifecycle {
    ignore_changes = [
      # Set by releases, and by each change that gcloud makes.
      client, client_version, traffic, template[0].annotations, template[0].labels, template[0].revision,
      template[0].containers[0].image, template[0].containers[0].name,
      # Set by the schedules for evening and morning.
      scaling[0].min_instance_count,
    ]
  }

  depends_on = [
    google_secret_manager_secret_version.neon_owner, google_secret_manager_secret_version.password,
    google_secret_manager_secret_version.this, terraform_data.grants,
  ]
}

output "urls" {
  description = "The URL of each function."
  value       = { for name, function in google_cloud_run_v2_service.function : name => function.uri }
}
