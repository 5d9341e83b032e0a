# One alert: a policy for each of its conditions, because a policy that uses PromQL may have one. The label groups them.

variable "name" {
  description = "The alert's name: its label, and its section of the runbook."
  type        = string
}

variable "environment" {
  description = "dev, staging or prod."
  type        = string
}

variable "alert" {
  description = "What is told, and when: `for` is how many seconds a condition must be true."
  type = object({
    severity   = string
    title      = string
    meaning    = string
    conditions = map(object({ query = string, for = number }))
  })
}

variable "channels" {
  description = "The notification channels' ids."
  type        = list(string)
}

variable "runbook" {
  description = "The runbook's address."
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
      # A metric that was made a moment ago is not known yet, and the first apply makes both.
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "Progress, ${var.environment}: ${var.alert.title}"
    content   = "${var.alert.meaning}\n\nWhat to do: ${var.runbook}#${var.name}"
  }

  alert_strategy {
    auto_close = "3600s"

    # The limit on how often the same is told again; a rate limit is for alerts on single log lines alone.
    dynamic "notification_channel_strategy" {
      for_each = length(var.channels) > 0 ? [1] : []
      content {
        notification_channel_names = var.channels
        renotify_interval          = "14400s"
      }
    }
  }
}
