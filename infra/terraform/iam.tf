# Who the parts are, one account each, and what each of them may do: no more than it needs.

resource "google_service_account" "member" {
  for_each = {
    ingest    = "Records events"
    project   = "Folds events into the read models"
    query     = "Answers the learners"
    batch     = "The scheduled job"
    release   = "Migrates the database and prepares a release"
    backup    = "Copies the read models out"
    build     = "Builds the functions"
    push      = "Pub/Sub, when it pushes"
    scheduler = "Cloud Scheduler, when it calls"
  }

  account_id   = "progress-${each.key}"
  display_name = each.value

  depends_on = [google_project_service.api]
}

# What each may do here. Of the database, secrets and buckets each has its part in database.tf, secrets.tf, buckets.tf.

locals {
  # The pipeline's account is made before all else: infra/bootstrap.
  members = merge(
    { for name, account in google_service_account.member : name => account.member },
    { pipeline = "serviceAccount:progress-pipeline@${var.project_id}.iam.gserviceaccount.com" },
  )

  # On the whole project: what has no smaller scope.
  project_roles = merge({
    build    = ["roles/logging.logWriter"]
    pipeline = ["roles/run.developer", "roles/monitoring.viewer"]
    }, {
    # Who sends traces and metrics to Google itself signs in there, and names the project that it is counted on.
    for who in startswith(coalesce(var.otel_exporter_otlp_endpoint, "-"), "https://telemetry.googleapis.com") ? ["ingest", "project", "query", "batch", "release", "backup"] : [] :
    who => ["roles/telemetry.writer", "roles/serviceusage.serviceUsageConsumer"]
  })

  # Who acts as whom: who deploys a service or job, or has Pub/Sub push as someone, takes that one's place.
  acts_as = concat(
    [for who in ["ingest", "project", "query", "batch", "release", "backup", "push"] : { actor = "pipeline", whom = who }],
    [for who in keys(try(var.night.min_instances, {})) : { actor = "scheduler", whom = who }],
  )
}

resource "google_project_iam_member" "member" {
  for_each = merge([
    for member, roles in local.project_roles : { for role in roles : "${member} ${role}" => { member = member, role = role } }
  ]...)

  project = var.project_id
  role    = each.value.role
  member  = local.members[each.value.member]
}

resource "google_service_account_iam_member" "acts_as" {
  for_each = { for each in local.acts_as : "${each.actor} ${each.whom}" => each }

  service_account_id = google_service_account.member[each.value.whom].name
  role               = "roles/iam.serviceAccountUser"
  member             = local.members[each.value.actor]
}

resource "google_pubsub_subscription_iam_member" "changes" {
  count = var.batch_on_demand ? 1 : 0

  subscription = google_pubsub_subscription.changes[0].name
  role         = "roles/pubsub.subscriber"
  member       = google_service_account.member["batch"].member
}

# Pub/Sub pushes to ingest and project, and nobody else calls them.
resource "google_cloud_run_v2_service_iam_member" "push" {
  for_each = toset(["ingest", "project"])

  name     = module.function[each.key].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.member["push"].member
}

resource "google_service_account_iam_member" "push_tokens" {
  service_account_id = google_service_account.member["push"].name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = local.pubsub_agent

  depends_on = [terraform_data.pubsub_agent]
}

# Cloud Scheduler starts jobs, and by night changes how many instances are kept ready. Cloud Run has no right for that number alone:
# run.services.update and acting as the service's account let the scheduler's account deploy anything as that function, too. Nobody
# has a key of it, and only who may change scheduler jobs (here: who applies) can have it call. So it is given only for the
# functions of var.night, by name, and nothing at all where there is no night.
resource "google_cloud_run_v2_job_iam_member" "scheduler" {
  for_each = local.job_schedules

  name     = module.job[each.key].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.member["scheduler"].member
}

resource "google_project_iam_custom_role" "scaling" {
  count = var.night == null ? 0 : 1

  role_id     = "progressScaling"
  title       = "Progress: changes a service's minimum of instances"
  permissions = ["run.services.get", "run.services.update"]

  depends_on = [google_project_service.api]
}

resource "google_cloud_run_v2_service_iam_member" "scheduler" {
  for_each = toset(keys(try(var.night.min_instances, {})))

  name     = module.function[each.key].name
  location = var.region
  role     = google_project_iam_custom_role.scaling[0].name
  member   = google_service_account.member["scheduler"].member
}

# The pipeline passes the release job its arguments, and while a release lasts pushes commands to the new revision too.
resource "google_cloud_run_v2_job_iam_member" "pipeline" {
  name     = module.job["release"].name
  location = var.region
  role     = "roles/run.jobsExecutorWithOverrides"
  member   = local.members["pipeline"]
}

resource "google_project_iam_custom_role" "green_push" {
  role_id     = "progressGreenPush"
  title       = "Progress: makes and removes the push subscription of a release"
  permissions = ["pubsub.subscriptions.create", "pubsub.subscriptions.delete", "pubsub.subscriptions.get", "pubsub.subscriptions.list"]

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "green_push" {
  project = var.project_id
  role    = google_project_iam_custom_role.green_push.name
  member  = local.members["pipeline"]
}

resource "google_pubsub_topic_iam_member" "green_push" {
  topic  = module.topic[local.command_topic].name
  role   = "roles/pubsub.subscriber" # pubsub.topics.attachSubscription
  member = local.members["pipeline"]
}

# The first builds read sources and write images.
resource "google_storage_bucket_iam_member" "build" {
  bucket = google_storage_bucket.sources.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.member["build"].member
}

resource "google_artifact_registry_repository_iam_member" "build" {
  repository = google_artifact_registry_repository.images.name
  location   = google_artifact_registry_repository.images.location
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.member["build"].member
}

# Who deploys an image must be allowed to read it; the first revisions' are here in every environment.
resource "google_artifact_registry_repository_iam_member" "pipeline" {
  repository = google_artifact_registry_repository.images.name
  location   = google_artifact_registry_repository.images.location
  role       = "roles/artifactregistry.reader"
  member     = local.members["pipeline"]
}
