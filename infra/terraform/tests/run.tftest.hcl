# Tests of the variables that switch features on, with a mocked provider. They do not need credentials or a project.
#   terraform init -backend=false && terraform test

variables {
  project_id  = "progress-dev"
  environment = "dev"

  neon = {
    host     = "ep-example.eu-central-1.aws.neon.tech"
    database = "progress"
    owner    = "progress_owner"
  }

  functions = {
    ingest  = { cpu = "1", memory = "512Mi", concurrency = 100, min_instances = 0, max_instances = 2 }
    project = { cpu = "2", memory = "2Gi", concurrency = 10, min_instances = 0, max_instances = 2 }
    query   = { cpu = "2", memory = "1Gi", concurrency = 1000, min_instances = 0, max_instances = 2 }
  }

  auth = {
    issuer   = "https://auth.example.com"
    audience = "progress"
    jwks_url = "https://auth.example.com/.well-known/jwks.json"
  }

  github = {
    repository = "example/progress"
  }

  batch_on_demand = true
  billing_account = "000000-000000-000000"
}

mock_provider "google" {
  override_during = plan

  mock_data "google_project" {
    defaults = { number = "100000000000" }
  }

  mock_resource "google_cloud_run_v2_service" {
    defaults = { uri = "https://function.example.com" }
  }

  mock_resource "google_service_account" {
    defaults = {
      id     = "projects/progress-dev/serviceAccounts/mocked@progress-dev.iam.gserviceaccount.com"
      name   = "projects/progress-dev/serviceAccounts/mocked@progress-dev.iam.gserviceaccount.com"
      email  = "mocked@progress-dev.iam.gserviceaccount.com"
      member = "serviceAccount:mocked@progress-dev.iam.gserviceaccount.com"
    }
  }
}

mock_provider "archive" {
  override_during = plan

  mock_data "archive_file" {
    defaults = { output_sha256 = "0123456789abcdef0123456789abcdef" }
  }
}

run "with_every_switch_off" {
  command = plan

  variables {
    batch_on_demand = false
    billing_account = null
  }

  assert {
    condition = !anytrue([
      for name, value in merge(flatten([values(module.function)[*].settings, values(module.job)[*].settings])...) :
      startswith(name, "OTEL_")
    ])
    error_message = "a function or job exports traces or metrics, which cost money, without an endpoint"
  }

  assert {
    condition = (
      length(google_pubsub_subscription.changes) + length(google_pubsub_subscription_iam_member.changes) == 0
    )
    error_message = "a subscription exists that no job pulls, and it collects messages for a week"
  }

  assert {
    condition     = !contains(keys(module.job["batch"].settings), "CHANGES_SUBSCRIPTION")
    error_message = "the batch job reads a subscription that does not exist"
  }

  assert {
    condition     = length(google_billing_budget.this) == 0
    error_message = "a budget exists without a billing account"
  }
}

run "with_every_switch_on" {
  command = plan

  variables {
    otel_exporter_otlp_endpoint = "https://telemetry.googleapis.com"
    trace_sample_ratio          = 0.1

    night = {
      time_zone     = "Europe/Brussels"
      evening       = "0 22 * * *"
      morning       = "0 6 * * *"
      min_instances = { query = 0 }
    }
  }

  assert {
    condition = alltrue([
      for part in concat(values(module.function), values(module.job)) :
      try(part.settings.OTEL_EXPORTER_OTLP_ENDPOINT, "") == "https://telemetry.googleapis.com"
    ])
    error_message = "a function or job does not export"
  }

  assert {
    condition = alltrue([
      for part in concat(values(module.function), values(module.job)) :
      endswith(try(part.settings.OTEL_RESOURCE_ATTRIBUTES, ""), "cloud.region=${var.region}")
    ])
    error_message = "metrics have no region: Google rejects them"
  }

  assert {
    condition = alltrue([
      for part in values(module.function) : try(part.settings.OTEL_TRACES_SAMPLER_ARG, "") == "0.1"
    ])
    error_message = "a function has another trace sample ratio"
  }

  assert {
    condition = length(setsubtract([
      for pair in setproduct(
        concat(keys(module.function), [for job in local.jobs : job.member]),
        ["roles/telemetry.writer", "roles/serviceusage.serviceUsageConsumer"],
      ) : join(" ", pair)
    ], keys(google_project_iam_member.member))) == 0
    error_message = "a function or job lacks a role to export to Google"
  }

  assert {
    condition     = toset(keys(google_cloud_scheduler_job.night)) == toset(["evening-query", "morning-query"])
    error_message = "expected one evening and one morning schedule, for query only"
  }

  assert {
    condition     = toset(keys(google_cloud_run_v2_service_iam_member.scheduler)) == toset(["query"])
    error_message = "the scheduler has a role on a function without a schedule"
  }
}
