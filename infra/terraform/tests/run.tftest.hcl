# What a switch turns, on a provider that is mocked: it takes neither credentials nor a project.
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

run "nothing_is_exported_unless_asked_for" {
  command = plan

  assert {
    condition = !anytrue([
      for name, value in merge(flatten([values(module.function)[*].settings, values(module.job)[*].settings])...) : startswith(name, "OTEL_")
    ])
    error_message = "an exporter costs: nobody asked for one"
  }
}

run "every_part_exports_where_it_is_asked_for" {
  command = plan

  variables {
    otel_exporter_otlp_endpoint = "https://telemetry.googleapis.com"
    trace_sample_ratio          = 0.1
  }

  assert {
    condition = alltrue([
      for part in concat(values(module.function), values(module.job)) :
      try(part.settings.OTEL_EXPORTER_OTLP_ENDPOINT, "") == "https://telemetry.googleapis.com"
    ])
    error_message = "a function or a job exports nothing"
  }

  assert {
    condition = alltrue([
      for part in concat(values(module.function), values(module.job)) :
      endswith(try(part.settings.OTEL_RESOURCE_ATTRIBUTES, ""), "cloud.region=${var.region}")
    ])
    error_message = "Google refuses a metric that names no place"
  }

  assert {
    condition     = alltrue([for part in values(module.function) : try(part.settings.OTEL_TRACES_SAMPLER_ARG, "") == "0.1"])
    error_message = "a function sends another share of the traces"
  }

  assert {
    condition = length(setsubtract([
      for pair in setproduct(
        concat(keys(module.function), [for job in local.jobs : job.member]),
        ["roles/telemetry.writer", "roles/serviceusage.serviceUsageConsumer"],
      ) : join(" ", pair)
    ], keys(google_project_iam_member.member))) == 0
    error_message = "a function or a job may not send to Google what it is told to"
  }
}

run "the_job_asks_for_changes_only_where_the_profile_does" {
  command = plan

  variables {
    batch_on_demand = false
  }

  assert {
    condition     = length(google_pubsub_subscription.changes) == 0 && length(google_pubsub_subscription_iam_member.changes) == 0
    error_message = "a subscription that nobody pulls keeps messages for a week"
  }

  assert {
    condition     = !contains(keys(module.job["batch"].settings), "CHANGES_SUBSCRIPTION")
    error_message = "the job would find nothing and never run"
  }
}

run "a_night_lowers_the_minimum_of_those_it_names" {
  command = plan

  variables {
    night = {
      time_zone     = "Europe/Brussels"
      evening       = "0 22 * * *"
      morning       = "0 6 * * *"
      min_instances = { query = 0 }
    }
  }

  assert {
    condition     = toset(keys(google_cloud_scheduler_job.night)) == toset(["evening-query", "morning-query"])
    error_message = "expected an evening and a morning of query alone"
  }

  assert {
    condition     = toset(keys(google_cloud_run_v2_service_iam_member.scheduler)) == toset(["query"])
    error_message = "the scheduler may change what it does not change"
  }
}

run "no_budget_without_a_billing_account" {
  command = plan

  variables {
    billing_account = null
  }

  assert {
    condition     = length(google_billing_budget.this) == 0
    error_message = "there is no account to hold it against"
  }
}

run "sizes_of_all_three_are_wanted" {
  command = plan

  variables {
    functions = {
      query = { cpu = "1", memory = "512Mi", concurrency = 10, min_instances = 0, max_instances = 1 }
    }
  }

  expect_failures = [var.functions]
}

run "an_environment_is_one_of_three" {
  command = plan

  variables {
    environment = "test"
  }

  expect_failures = [var.environment]
}

run "builds_run_where_a_new_project_may_build" {
  command = plan

  variables {
    build_region = "europe-west4"
  }

  expect_failures = [var.build_region]
}
