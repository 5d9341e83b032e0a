# The topics, who is pushed what is on them, and where a message ends that nobody could take.

variable "batch_on_demand" {
  description = "Whether the batch job asks a subscription first, and leaves the database asleep where nothing happened."
  type        = bool
  default     = false
}

variable "publishers" {
  description = "Who may publish to the source topics, by topic: IAM members, such as the account of the Learning context."
  type        = map(set(string))
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.publishers), local.source_topics)) == 0
    error_message = "expected topics of ${join(", ", local.source_topics)}"
  }

  validation {
    condition     = alltrue([for member in flatten(values(var.publishers)) : can(regex("^(serviceAccount|group|user|principal|principalSet):", member))])
    error_message = "expected named members, such as serviceAccount:NAME@PROJECT.iam.gserviceaccount.com"
  }
}

variable "foreign_topics" {
  description = "Source topics that exist in another project, by name: projects/PROJECT/topics/NAME. There it is said who publishes; who applies here needs roles/pubsub.subscriber on each."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.foreign_topics), local.source_topics)) == 0
    error_message = "expected topics of ${join(", ", local.source_topics)}"
  }

  validation {
    condition     = alltrue([for topic in values(var.foreign_topics) : can(regex("^projects/[^/]+/topics/[^/]+$", topic))])
    error_message = "expected projects/PROJECT/topics/NAME"
  }

  validation {
    condition     = length(setintersection(keys(var.foreign_topics), keys(var.publishers))) == 0
    error_message = "who publishes to a topic of another project is said in that project, not in publishers"
  }
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

locals {
  # Topic => who may publish there, of the topics that are made here.
  publishers = merge(
    {
      for topic in local.source_topics : topic => { for member in lookup(var.publishers, topic, []) : member => member }
      if !contains(keys(var.foreign_topics), topic)
    },
    { (local.command_topic) = { for who in ["ingest", "project", "query", "batch", "release"] : who => google_service_account.member[who].member } },
  )

  topics = merge({ for name, topic in module.topic : name => topic.id }, var.foreign_topics)
}

# What was acknowledged stays for a week: after a restore the subscriptions are sought back.
module "topic" {
  for_each = local.publishers
  source   = "./modules/topic"

  name       = each.key
  region     = var.region
  retention  = local.week
  publishers = each.value

  depends_on = [google_project_service.api]
}

resource "google_pubsub_subscription" "push" {
  for_each = local.pushed

  name                       = each.key
  topic                      = local.topics[each.value.topic]
  ack_deadline_seconds       = each.value.seconds
  message_retention_duration = local.week
  retain_acked_messages      = contains(keys(var.foreign_topics), each.value.topic) # their topic may keep nothing

  push_config {
    push_endpoint = module.function[each.value.function].uri
    oidc_token {
      service_account_email = google_service_account.member["push"].email
      audience              = module.function[each.value.function].uri
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = module.dead_letter[each.key].id
    max_delivery_attempts = 100 # with the retries' pauses more than half a day
  }

  expiration_policy {
    ttl = "" # never
  }

  depends_on = [google_cloud_run_v2_service_iam_member.push, google_service_account_iam_member.push_tokens]
}

# Pub/Sub itself moves dead letters: it publishes them here, and takes them from the subscription below.
module "dead_letter" {
  for_each = local.dead_lettered
  source   = "./modules/topic"

  name       = "${each.key}-dead-letter"
  region     = var.region
  publishers = { pubsub = local.pubsub_agent }

  depends_on = [terraform_data.pubsub_agent]
}

resource "google_pubsub_subscription" "dead_letter" {
  for_each = local.dead_lettered

  name                       = "${each.key}-dead-letter-sub"
  topic                      = module.dead_letter[each.key].id
  message_retention_duration = local.at_most

  expiration_policy {
    ttl = ""
  }
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
  count = var.batch_on_demand ? 1 : 0

  name                       = "progress-batch-sub"
  topic                      = local.topics[local.command_topic]
  ack_deadline_seconds       = 300 # a run acknowledges when it is done
  message_retention_duration = local.week

  expiration_policy {
    ttl = ""
  }
}

locals {
  changes_settings = { CHANGES_SUBSCRIPTION = one(google_pubsub_subscription.changes[*].name) }
}
