# The three functions. The first apply builds them; from then on the pipeline brings their images and their traffic.

variable "functions" {
  description = "The size of ingest, project and query: of an instance, how many requests it takes at once, and how many of them."
  type = map(object({
    cpu           = string
    memory        = string
    concurrency   = number
    min_instances = number # instances, by day
    max_instances = number
  }))

  validation {
    condition     = toset(keys(var.functions)) == toset(["ingest", "project", "query"])
    error_message = "expected the sizes of ingest, project and query"
  }

  validation {
    condition     = alltrue([for size in values(var.functions) : contains(["1", "2", "4", "6", "8"], size.cpu) && can(regex("^[1-9][0-9]*(Mi|Gi)$", size.memory))])
    error_message = "expected 1, 2, 4, 6 or 8 CPUs, and memory such as 512Mi or 2Gi"
  }

  validation {
    condition     = alltrue([for size in values(var.functions) : size.concurrency >= 1 && size.concurrency <= 1000])
    error_message = "expected 1 to 1000 requests at once"
  }

  validation {
    condition     = alltrue([for size in values(var.functions) : size.min_instances >= 0 && size.max_instances >= max(1, size.min_instances)])
    error_message = "expected 0 or more instances at least, and as many at most, or more"
  }
}

variable "auth" {
  description = "Whose tokens the query function takes, and where the page sends a learner who has none."
  type = object({
    issuer      = string
    audience    = string
    jwks_url    = string
    sign_in_url = optional(string)
  })
}

variable "api" {
  description = "What the query function allows: origins of other pages, requests of a learner each minute, introspection."
  type = object({
    cors_origins          = optional(list(string), [])
    rate_limit_per_minute = optional(number, 100)
    introspection         = optional(bool)
  })
  default = {}
}

variable "otel_exporter_otlp_endpoint" {
  description = "Where traces and metrics go (OTLP over HTTP); nothing is sent, and nothing is paid, without it."
  type        = string
  default     = null
}

variable "trace_sample_ratio" {
  description = "Of all traces, the share that is sent, 0 to 1: a trace's number decides, alike for every part that it passes."
  type        = number
  default     = 1

  validation {
    condition     = var.trace_sample_ratio >= 0 && var.trace_sample_ratio <= 1
    error_message = "expected a share from 0 to 1"
  }
}

locals {
  # A setting that is null is left to progress/settings.py: the modules leave it out.
  common_settings = merge({
    ENVIRONMENT                 = local.environment_name
    PUBSUB_PROJECT_ID           = var.project_id
    OTEL_EXPORTER_OTLP_ENDPOINT = var.otel_exporter_otlp_endpoint
  }, var.otel_exporter_otlp_endpoint == null ? {} : local.otel_settings)

  # What OpenTelemetry reads by itself. Google refuses a metric that names no place. Who sent a request is not asked about
  # sampling: Cloud Run's front end would have hardly any trace sent, one in ten seconds.
  otel_settings = {
    OTEL_RESOURCE_ATTRIBUTES = "cloud.provider=gcp,cloud.platform=gcp_cloud_run,cloud.region=${var.region}"
    OTEL_TRACES_SAMPLER      = "traceidratio"
    OTEL_TRACES_SAMPLER_ARG  = tostring(var.trace_sample_ratio)
  }

  query_settings = {
    AUTH_ISSUER           = var.auth.issuer
    AUTH_AUDIENCE         = var.auth.audience
    AUTH_JWKS_URL         = var.auth.jwks_url
    AUTH_SIGN_IN_URL      = var.auth.sign_in_url
    CORS_ORIGINS          = length(var.api.cors_origins) == 0 ? null : join(",", var.api.cors_origins)
    RATE_LIMIT_PER_MINUTE = tostring(var.api.rate_limit_per_minute)
    GRAPHQL_INTROSPECTION = var.api.introspection == null ? null : tostring(var.api.introspection)
  }

  function_facts = {
    ingest = {
      ingress  = "INGRESS_TRAFFIC_INTERNAL_ONLY" # Pub/Sub counts as internal
      timeout  = "60s"                           # as long as Pub/Sub waits
      health   = "/"
      settings = { THREADS = tostring(var.functions["ingest"].concurrency + 4) } # and the probes'
    }
    project = {
      ingress  = "INGRESS_TRAFFIC_INTERNAL_ONLY"
      timeout  = "3600s" # a rebuild; Pub/Sub asks again meanwhile and hears that another is at it
      health   = "/"
      settings = merge(local.archive_environment, { THREADS = tostring(var.functions["project"].concurrency + 4) })
    }
    query = {
      ingress  = local.is_prod ? "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" : "INGRESS_TRAFFIC_ALL"
      timeout  = "3600s"                                                               # streams
      health   = "/health"                                                             # not /ready: an instance outlives a database that is down
      settings = merge(local.query_settings, { WORKERS = var.functions["query"].cpu }) # one event loop a core
    }
  }

  function_secrets = {
    for name, facts in local.function_facts : name => merge(
      local.database_secrets[name], name == "ingest" ? {} : local.redis_secrets # it answers nobody
    )
  }
}

module "function" {
  source   = "./modules/service"
  for_each = local.function_facts

  name                = "progress-${each.key}"
  region              = var.region
  account             = google_service_account.member[each.key].email
  image               = "${local.images}/${each.key}"
  size                = var.functions[each.key]
  timeout             = each.value.timeout
  ingress             = each.value.ingress
  public              = each.key == "query" # learners have no Google account: the function checks their tokens
  health              = each.value.health
  settings            = merge(local.common_settings, local.database_environment[each.key], each.value.settings)
  secrets             = local.function_secrets[each.key]
  network             = local.vpc_access
  deletion_protection = local.is_prod

  depends_on = [
    google_project_iam_member.member,
    google_secret_manager_secret_iam_member.accessor,
    google_secret_manager_secret_version.neon_owner,
    google_secret_manager_secret_version.password,
    google_secret_manager_secret_version.this,
    terraform_data.image,
  ]
}
