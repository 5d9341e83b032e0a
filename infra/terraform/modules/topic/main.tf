# A topic, and who may publish to it.

variable "name" {
  description = "The topic's name."
  type        = string
}

variable "region" {
  description = "The only region that messages are kept in."
  type        = string
}

variable "retention" {
  description = "How long messages stay, also those that were acknowledged, in seconds with an s; null for no longer than needed."
  type        = string
  default     = null
}

variable "publishers" {
  description = "Who may publish: IAM members, by any name that is known before they are made."
  type        = map(string)
}

resource "google_pubsub_topic" "this" {
  name                       = var.name
  message_retention_duration = var.retention

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
}

resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = var.publishers

  topic  = google_pubsub_topic.this.name
  role   = "roles/pubsub.publisher"
  member = each.value
}

output "id" {
  description = "projects/PROJECT/topics/NAME."
  value       = google_pubsub_topic.this.id
}

output "name" {
  description = "The topic's name, once it is there."
  value       = google_pubsub_topic.this.name
}
