# A topic and its publishers.

variable "name" {
  description = "The topic's name."
  type        = string
}

variable "region" {
  description = "The only region that stores messages."
  type        = string
}

variable "retention" {
  description = "How long messages are kept, even after acknowledgement, such as 604800s; null: until acknowledgement."
  type        = string
  default     = null
}

variable "publishers" {
  description = "The IAM members that may publish. The keys are arbitrary texts, which must be known before the apply."
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
  description = "The topic's id: projects/PROJECT/topics/NAME."
  value       = google_pubsub_topic.this.id
}

output "name" {
  description = "The topic's name. Resources that use this output are created after the topic."
  value       = google_pubsub_topic.this.name
}
