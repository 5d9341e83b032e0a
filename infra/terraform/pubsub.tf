# Topics, push subscriptions and dead-letter subscriptions.

variable "batch_on_demand" {
  description = "Whether the batch job connects to the database only after events, so that Neon can sleep."
  type        = bool
  default     = false
}

variable "publishers" {
  description = "The IAM members that may publish to each source topic, such as the learning service's account."
  type        = map(set(string))
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.publishers), local.source_topics)) == 0
    error_message = "expected only the topics ${join(", ", local.source_topics)}"
  }

  validation {
    condition = alltrue([
      for member in flatten(values(var.publishers)) :
      can(regex("^(serviceAccount|group|user|principal|principalSet):", member))
    ])
    error_message = "expected IAM members, such as serviceAccount:NAME@PROJECT.iam.gserviceaccount.com"
  }
}

variable "foreign_topics" {
  # The project that owns a foreign topic grants the topic's publishers the role to publish. The account that runs
  # `terraform apply` needs roles/pubsub.subscriber on each foreign topic.
  description = "The source topics that exist in other projects: for each topic's name, projects/PROJECT/topics/NAME."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.foreign_topics), local.source_topics)) == 0
    error_message = "expected only the topics ${join(", ", local.source_topics)}"
  }

  validation {
    condition = alltrue([
      for topic in values(var.foreign_topics) : can(regex("^projects/[^/]+/topics/[^/]+$", topic))
    ])
    error_message = "expected projects/PROJECT/topics/NAME"
  }

  validation {
    condition     = length(setintersection(keys(var.foreign_topics), keys(var.publishers))) == 0
    error_message = "expected no foreign topic in publishers: the other project grants the role to publish"
  }
}

variable "publish_events" {
  description = "What leaves the system on the topic progress-events: milestones, all (also recorded events) or off."
  type        = string
  default     = "milestones"

  validation {
    condition     = contains(["milestones", "all", "off"], var.publish_events)
    error_message = "expected milestones, all or off"
  }
}

variable "event_subscriptions" {
  # Pub/Sub signs each push to an endpoint with a token for the audience `endpoint`. If
  # there is no endpoint, `subscribers` pull the messages. A service in another project may instead attach its own
  # subscription to the topic, if `event_subscribers` names its account.
  description = "Subscriptions to progress-events of this project, by name, each with a filter and a dead-letter topic."
  type = map(object({
    endpoint    = optional(string)
    filter      = optional(string, "attributes.kind = \"milestone\"")
    subscribers = optional(set(string), [])
  }))
  default = {}

  validation {
    condition = alltrue([
      for subscription in values(var.event_subscriptions) :
      startswith(coalesce(subscription.endpoint, "https://"), "https://")
    ])
    error_message = "expected endpoints that begin with https://"
  }
}

variable "event_subscribers" {
  description = "The IAM members of other projects that may attach subscriptions to progress-events."
  type        = set(string)
  default     = []
}

locals {
  source_topics = ["learning-events", "algorithm-events", "vocabulary-events", "user-events"]
  command_topic = "progress-commands"
  event_topic   = "progress-events"

  week          = "604800s"
  max_retention = "2678400s" # 31 days, Pub/Sub's maximum

  # Push subscriptions: topic, function and its acknowledgement deadline.
  push_subscriptions = merge(
    { for name in local.source_topics : "${name}-ingest-sub" => { topic = name, function = "ingest", seconds = 60 } },
    { progress-projection-sub = { topic = local.command_topic, function = "project", seconds = 600 } },
  )

  # Subscriptions with a dead-letter topic.
  dead_letter_sources = toset(concat(
    keys(local.push_subscriptions), keys(local.analytics), keys(var.event_subscriptions)
  ))

  # The subscriptions that hold Pub/Sub's dead letters.
  dead_letter_subscriptions = toset([for name in local.dead_letter_sources : "${name}-dead-letter-sub"])

  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

# Creates Pub/Sub's service agent. Google itself would create the agent only when Pub/Sub is first used. Terraform needs
# the agent earlier, to grant roles to it.
resource "terraform_data" "pubsub_agent" {
  triggers_replace = local.pubsub_agent

  provisioner "local-exec" {
    # If the beta commands are missing, gcloud installs them. It does this without a question only if the flag --quiet
    # comes before the word beta.
    command = "gcloud --quiet beta services identity create --service=pubsub.googleapis.com --project=${var.project_id}"
  }

  depends_on = [google_project_service.api]
}

locals {
  # The publishers of each topic of this project.
  publishers = merge(
    {
      for topic in setsubtract(local.source_topics, keys(var.foreign_topics)) :
      topic => { for member in lookup(var.publishers, topic, []) : member => member }
    },
    {
      for topic, names in {
        (local.command_topic) = ["ingest", "project", "query", "batch", "release"]
        (local.event_topic)   = ["project", "batch", "release"]
      } : topic => { for name in names : name => google_service_account.member[name].member }
    },
  )

  topics = merge({ for name, topic in google_pubsub_topic.topic : name => topic.id }, var.foreign_topics)
}

# Topics keep acknowledged messages for a week, so that a restore can replay them.
resource "google_pubsub_topic" "topic" {
  for_each = local.publishers

  name                       = each.key
  message_retention_duration = local.week

  message_storage_policy { allowed_persistence_regions = [var.region] }

  depends_on = [google_project_service.api]
}

resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = merge([
    for topic, members in local.publishers : {
      for name, member in members : "${topic} ${name}" => { topic = topic, member = member }
    }
  ]...)

  topic  = google_pubsub_topic.topic[each.value.topic].name
  role   = "roles/pubsub.publisher"
  member = each.value.member
}

# A subscription to a foreign topic keeps acknowledged messages itself, because the foreign topic might not keep them.
resource "google_pubsub_subscription" "push" {
  for_each = local.push_subscriptions

  name                       = each.key
  topic                      = local.topics[each.value.topic]
  ack_deadline_seconds       = each.value.seconds
  message_retention_duration = local.week
  retain_acked_messages      = contains(keys(var.foreign_topics), each.value.topic)

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
    max_delivery_attempts = 100 # with the retry delays, the attempts take more than half a day
  }

  expiration_policy {
    ttl = "" # never
  }

  depends_on = [google_cloud_run_v2_service_iam_member.push, google_service_account_iam_member.push_tokens]
}

# What other services of this project read of the published events. The messages of a stream arrive in their order.
resource "google_pubsub_subscription" "events" {
  for_each = var.event_subscriptions

  name                       = each.key
  topic                      = local.topics[local.event_topic]
  filter                     = each.value.filter
  enable_message_ordering    = true
  ack_deadline_seconds       = 60
  message_retention_duration = local.week

  dynamic "push_config" {
    for_each = each.value.endpoint == null ? [] : [each.value.endpoint]
    content {
      push_endpoint = push_config.value
      oidc_token {
        service_account_email = google_service_account.member["push"].email
        audience              = push_config.value
      }
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letter[each.key].id
    max_delivery_attempts = 100
  }

  expiration_policy { ttl = "" }

  depends_on = [google_service_account_iam_member.push_tokens]
}

resource "google_pubsub_subscription_iam_member" "subscriber" {
  for_each = merge([
    for name, subscription in var.event_subscriptions : {
      for member in subscription.subscribers : "${name} ${member}" => { name = name, member = member }
    }
  ]...)

  subscription = google_pubsub_subscription.events[each.value.name].name
  role         = "roles/pubsub.subscriber"
  member       = each.value.member
}

resource "google_pubsub_topic_iam_member" "subscriber" {
  for_each = var.event_subscribers

  topic  = google_pubsub_topic.topic[local.event_topic].name
  role   = "roles/pubsub.subscriber" # pubsub.topics.attachSubscription
  member = each.value
}

# Pub/Sub's service agent moves dead letters: it publishes them here and acknowledges them on the source subscription.
resource "google_pubsub_topic" "dead_letter" {
  for_each = local.dead_letter_sources

  name = "${each.key}-dead-letter"

  message_storage_policy { allowed_persistence_regions = [var.region] }

  depends_on = [google_project_service.api]
}

resource "google_pubsub_topic_iam_member" "dead_letter" {
  for_each = google_pubsub_topic.dead_letter

  topic  = each.value.name
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent

  depends_on = [terraform_data.pubsub_agent]
}

resource "google_pubsub_subscription" "dead_letter" {
  for_each = local.dead_letter_sources

  name                       = "${each.key}-dead-letter-sub"
  topic                      = google_pubsub_topic.dead_letter[each.key].id
  message_retention_duration = local.max_retention

  expiration_policy { ttl = "" }
}

resource "google_pubsub_subscription_iam_member" "dead_letter" {
  for_each = merge(
    google_pubsub_subscription.push, google_pubsub_subscription.analytics, google_pubsub_subscription.events
  )

  # The id, not the name: a replaced subscription keeps its name, but has lost its roles.
  subscription = each.value.id
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent

  depends_on = [terraform_data.pubsub_agent]
}

# Neon bills the hours in which the database is awake. The batch job therefore checks this subscription first, and
# connects to the database only if there are messages.
resource "google_pubsub_subscription" "changes" {
  count = var.batch_on_demand ? 1 : 0

  name                       = "progress-batch-sub"
  topic                      = local.topics[local.command_topic]
  ack_deadline_seconds       = 300 # a batch run acknowledges its messages only at its end
  message_retention_duration = local.week

  expiration_policy { ttl = "" }
}

locals {
  changes_settings = { CHANGES_SUBSCRIPTION = one(google_pubsub_subscription.changes[*].name) }
}
