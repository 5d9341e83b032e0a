# The topics, who is pushed what is on them, and where a message ends that nobody could take.

variable "pull_changes" {
  description = "Whether the batch job asks a subscription first, and leaves the database asleep where nothing happened."
  type        = bool
  default     = false
}

locals {
  source_topics = ["learning-events", "algorithm-events", "vocabulary-events", "user-events"]
  command_topic = "progress-commands"

  week    = "604800s"
  at_most = "2678400s" # 31 days: longer than that Pub/Sub keeps nothing

  # Subscription => what is pushed, to whom. Pub/Sub waits for an answer for as long as it may.
  pushed = merge(
    { for topic in local.source_topics : "${topic}-ingest-sub" => { topic = topic, function = "ingest", seconds = 60 } },
    { "progress-projection-sub" = { topic = local.command_topic, function = "project", seconds = 600 } },
  )

  dead_lettered = toset(concat(keys(local.pushed), keys(local.analytics)))

  # What holds dead letters of Pub/Sub's, for the alert on them.
  dead_letter_subscriptions = toset([for each in local.dead_lettered : "${each}-dead-letter-sub"])

  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

# An account of Google's that is there once it is asked for, or used.
resource "terraform_data" "pubsub_agent" {
  triggers_replace = local.pubsub_agent

  provisioner "local-exec" {
    command = "gcloud beta services identity create --service=pubsub.googleapis.com --project=${var.project_id} --quiet"
  }

  depends_on = [google_project_service.api]
}

# What was acknowledged stays for a week: after a restore the subscriptions are sought back.
resource "google_pubsub_topic" "topic" {
  for_each = toset(concat(local.source_topics, [local.command_topic]))

  name                       = each.key
  message_retention_duration = local.week

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_project_service.api]
}

resource "google_pubsub_subscription" "push" {
  for_each = local.pushed

  name                       = each.key
  topic                      = google_pubsub_topic.topic[each.value.topic].id
  ack_deadline_seconds       = each.value.seconds
  message_retention_duration = local.week

  push_config {
    push_endpoint = google_cloud_run_v2_service.function[each.value.function].uri
    oidc_token {
      service_account_email = google_service_account.member["push"].email
      audience              = google_cloud_run_v2_service.function[each.value.function].uri
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letter[each.key].id
    max_delivery_attempts = 100 # with the retries' pauses more than half a day
  }

  expiration_policy {
    ttl = "" # never
  }

  depends_on = [google_cloud_run_v2_service_iam_member.push, google_service_account_iam_member.push_tokens]
}

resource "google_pubsub_topic" "dead_letter" {
  for_each = local.dead_lettered

  name = "${each.key}-dead-letter"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_project_service.api]
}

resource "google_pubsub_subscription" "dead_letter" {
  for_each = local.dead_lettered

  name                       = "${each.key}-dead-letter-sub"
  topic                      = google_pubsub_topic.dead_letter[each.key].id
  message_retention_duration = local.at_most

  expiration_policy {
    ttl = ""
  }
}

# Pub/Sub itself moves dead letters: it takes them from the subscription and publishes them on.
resource "google_pubsub_topic_iam_member" "dead_letter" {
  for_each = google_pubsub_topic.dead_letter

  topic  = each.value.name
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent

  depends_on = [terraform_data.pubsub_agent]
}

resource "google_pubsub_subscription_iam_member" "dead_letter" {
  for_each = merge(google_pubsub_subscription.push, google_pubsub_subscription.analytics)

  subscription = each.value.name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent

  depends_on = [terraform_data.pubsub_agent]
}

# A database that costs by the hour is woken only where something changed: the batch job looks here first.
resource "google_pubsub_subscription" "changes" {
  count = var.pull_changes ? 1 : 0

  name                       = "progress-batch-sub"
  topic                      = google_pubsub_topic.topic[local.command_topic].id
  ack_deadline_seconds       = 300 # a run acknowledges when it is done
  message_retention_duration = local.week

  expiration_policy {
    ttl = ""
  }
}

locals {
  changes_settings = { CHANGES_SUBSCRIPTION = one(google_pubsub_subscription.changes[*].name) }
}
