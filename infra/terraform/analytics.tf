# BigQuery stores a copy of the published messages, for queries about recent events. The topic `user-events` is
# excluded, because its messages contain e-mail addresses. User ids are removed, because the erasure of a learner does
# not reach this copy.

locals {
  analytics = {
    for topic in local.source_topics : "progress-analytics-sub-${topic}" => topic if topic != "user-events"
  }
}

resource "google_bigquery_dataset" "analytics" {
  dataset_id                 = "progress_analytics"
  location                   = var.region
  description                = "Events as published"
  delete_contents_on_destroy = !local.is_prod

  depends_on = [google_project_service.api]
}

resource "google_bigquery_table" "messages" {
  dataset_id               = google_bigquery_dataset.analytics.dataset_id
  table_id                 = "messages"
  description              = "One row for each delivery of a message; the view `events` has each event once"
  deletion_protection      = local.is_prod
  require_partition_filter = false
  schema                   = file("${path.root}/analytics/messages.json")
  clustering               = ["subscription_name"]

  time_partitioning {
    type          = "DAY"
    field         = "publish_time"
    expiration_ms = 400 * 24 * 60 * 60 * 1000
  }
}

resource "google_bigquery_table" "events" {
  dataset_id          = google_bigquery_dataset.analytics.dataset_id
  table_id            = "events"
  description         = "Each event once, without redeliveries"
  deletion_protection = false # a view holds no data

  view {
    query = templatefile("${path.root}/analytics/events.sql", {
      table = join(".", [
        var.project_id, google_bigquery_dataset.analytics.dataset_id, google_bigquery_table.messages.table_id,
      ])
    })
    use_legacy_sql = false
  }
}

# Pub/Sub's service agent writes the rows.
resource "google_bigquery_table_iam_member" "pubsub" {
  dataset_id = google_bigquery_dataset.analytics.dataset_id
  table_id   = google_bigquery_table.messages.table_id
  role       = "roles/bigquery.dataEditor"
  member     = local.pubsub_agent

  depends_on = [terraform_data.pubsub_agent]
}

resource "google_pubsub_subscription" "analytics" {
  for_each = local.analytics

  name                       = each.key
  topic                      = local.topics[each.value]
  message_retention_duration = local.week

  message_transforms {
    javascript_udf {
      function_name = "removeLearner"
      code          = file("${path.root}/analytics/remove_learner.js")
    }
  }

  bigquery_config {
    table = join(".", [
      var.project_id, google_bigquery_table.messages.dataset_id, google_bigquery_table.messages.table_id,
    ])
    write_metadata = true
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

  depends_on = [terraform_data.grants]
}
