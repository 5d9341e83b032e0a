# One alert, with a policy for each condition, because a policy with PromQL may have only one condition. The label
# `alert` groups the policies.

variable "name" {
  description = "The alert's name: the value of the label `alert` and the anchor of the alert's runbook section."
  type        = string
}

variable "environment" {
  description = "dev, staging or prod."
  type        = string
}

variable "alert" {
  # `for`: the number of seconds for which a condition must be true before the alert fires.
  description = "The severity, the texts for the operator, and the conditions in PromQL."
  type = object({
    severity   = string
    title      = string
    meaning    = string
    cause      = string
    action     = string
    conditions = map(object({ query = string, for = number }))
  })
}

variable "channels" {
  description = "The ids of the notification channels."
  type        = list(string)
}

variable "runbook" {
  description = "The URL of the runbook."
  type        = string
}

resource "google_monitoring_alert_policy" "this" {
  for_each = var.alert.conditions

  display_name          = "Progress, ${var.environment}: ${var.alert.title} (${each.key})"
  severity              = var.alert.severity
  combiner              = "OR"
  notification_channels = var.channels
  user_labels           = { alert = var.name }

  conditions {
    display_name = each.key
    condition_prometheus_query_language {
      query               = each.value.query
      duration            = "${each.value.for}s"
      evaluation_interval = "60s"
      # The first apply creates the metrics too, and the API does not know a new metric immediately.
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "Progress, ${var.environment}: ${var.alert.title}"
    content = join("\n\n", [
      "**Condition:** ${var.alert.meaning}",
      "**Likely cause:** ${var.alert.cause}",
      "**What to do:** ${var.alert.action}",
      "**Runbook:** ${var.runbook}#${var.name}",
    ])
  }

  alert_strategy {
    auto_close = "3600s"

    # Repeat the notification every four hours. (The API's `notification_rate_limit` is only for log-based alerts.)
    dynamic "notification_channel_strategy" {
      for_each = length(var.channels) > 0 ? [1] : []
      content {
        notification_channel_names = var.channels
        renotify_interval          = "14400s"
      }
    }
  }
}
