# A service account for each service, job and tool, with only the roles that it needs.

resource "google_service_account" "member" {
  for_each = merge({
    ingest    = "Appends events to the log"
    project   = "Folds events into the read models"
    query     = "Answers learners' queries"
    batch     = "Runs the batch jobs"
    release   = "Migrates the database for a release"
    backup    = "Dumps the log"
    rebuild   = "Rebuilds the read models from the archive"
    push      = "Signs Pub/Sub's pushes"
    scheduler = "Signs Cloud Scheduler's calls"

    backup-scheduler = "Signs Cloud Scheduler's calls for backups"
    },
    { for name in local.analyst : name => "Queries the views of the read models" },
  )

  account_id   = "progress-${each.key}"
  display_name = each.value

  depends_on = [google_project_service.api]
}

# Roles for the database, secrets and buckets are in database.tf, secrets.tf and buckets.tf.

locals {
  # infra/bootstrap creates them.
  custom_roles = {
    for name in ["Backups", "Measurements", "Scaling", "Signing"] :
    lower(name) => "projects/${var.project_id}/roles/progress${name}"
  }

  # infra/bootstrap creates the pipeline's account.
  members = merge(
    { for name, account in google_service_account.member : name => account.member },
    { for id in local.pipeline : id => "serviceAccount:progress-pipeline@${var.project_id}.iam.gserviceaccount.com" },
  )

  # The accounts of the functions and the jobs.
  running = ["ingest", "project", "query", "batch", "release", "backup", "rebuild"]
}

# Roles on the whole project, where no narrower scope exists.
resource "google_project_iam_member" "member" {
  for_each = { for pair in concat(
    setproduct([for name in local.pipeline : name], ["roles/run.developer", "roles/monitoring.viewer"]),
    # To export traces and metrics to Google, an account must be allowed to write them, and to bill this project.
    setproduct(local.running, ["roles/telemetry.writer", "roles/serviceusage.serviceUsageConsumer"]),
  ) : join(" ", pair) => pair }

  project = var.project_id
  role    = each.value[1]
  member  = local.members[each.value[0]]
}

# To deploy a service or a job, an actor needs the right to act as its service account.
resource "google_service_account_iam_member" "impersonation" {
  for_each = { for pair in concat(
    setproduct([for name in local.pipeline : name], local.running),
    setproduct(["scheduler"], keys(try(var.night.min_instances, {}))),
  ) : join(" ", pair) => pair }

  service_account_id = google_service_account.member[each.value[1]].name
  role               = "roles/iam.serviceAccountUser"
  member             = local.members[each.value[0]]
}

resource "google_pubsub_subscription_iam_member" "changes" {
  count = var.batch_on_demand ? 1 : 0

  subscription = google_pubsub_subscription.changes[0].name
  role         = "roles/pubsub.subscriber"
  member       = google_service_account.member["batch"].member
}

# Only Pub/Sub may call ingest and project, and those who post events to ingest.
resource "google_cloud_run_v2_service_iam_member" "push" {
  for_each = toset(["ingest", "project"])

  name     = google_cloud_run_v2_service.function[each.key].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.member["push"].member
}

resource "google_cloud_run_v2_service_iam_member" "poster" {
  for_each = var.event_posters

  name     = google_cloud_run_v2_service.function["ingest"].name
  location = var.region
  role     = "roles/run.invoker"
  member   = each.key
}

resource "google_service_account_iam_member" "push_tokens" {
  service_account_id = google_service_account.member["push"].name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = local.pubsub_agent

  depends_on = [terraform_data.pubsub_agent]
}

# The query function signs the URLs of exported files in its own name.
resource "google_service_account_iam_member" "signing" {
  service_account_id = google_service_account.member["query"].name
  role               = local.custom_roles.signing
  member             = google_service_account.member["query"].member
}

# The query function reads the number of undelivered messages and the schedules' states, for administrators;
# `progress doctor`, in the job `release`, for operators.
resource "google_project_iam_member" "measurements" {
  for_each = toset(["query", "release"])

  project = var.project_id
  role    = local.custom_roles.measurements
  member  = google_service_account.member[each.key].member
}

# Cloud Scheduler starts the jobs. In the evening and the morning, it also changes the functions' minimum numbers of
# instances. This needs run.services.update and impersonation, with which the scheduler's account could also deploy any
# code as the functions in var.night. But it has no key, and only the account that runs `terraform apply` may change
# what the scheduler calls.
resource "google_cloud_run_v2_job_iam_member" "scheduler" {
  for_each = local.job_schedules

  name     = google_cloud_run_v2_job.job[try(each.value.job, each.key)].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.member["scheduler"].member
}

resource "google_cloud_run_v2_service_iam_member" "scheduler" {
  for_each = toset(keys(try(var.night.min_instances, {})))

  name     = google_cloud_run_v2_service.function[each.key].name
  location = var.region
  role     = local.custom_roles.scaling
  member   = google_service_account.member["scheduler"].member
}

# The pipeline passes arguments to the release job.
resource "google_cloud_run_v2_job_iam_member" "pipeline" {
  for_each = local.pipeline

  name     = google_cloud_run_v2_job.job["release"].name
  location = var.region
  role     = "roles/run.jobsExecutorWithOverrides"
  member   = local.members[each.key]
}
