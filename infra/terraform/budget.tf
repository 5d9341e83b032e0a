# Budget alert by e-mail. The provider does not know the API's `spendCap` yet, which caps Cloud Run (docs/cost.md).

variable "monthly_budget" {
  description = "The monthly budget, in the billing account's currency."
  type        = number
  default     = 50
}

resource "google_billing_budget" "this" {
  count = var.billing_account == null ? 0 : 1

  billing_account = var.billing_account
  display_name    = "Progress ${var.environment}"

  budget_filter {
    projects        = ["projects/${data.google_project.this.number}"]
    calendar_period = "MONTH"
  }

  amount {
    specified_amount { units = tostring(var.monthly_budget) }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1]

    content {
      threshold_percent = threshold_rules.value
      spend_basis       = "CURRENT_SPEND"
    }
  }

  threshold_rules {
    threshold_percent = 1
    spend_basis       = "FORECASTED_SPEND"
  }

  # Sends the alert to var.alert_emails too. The billing account's administrators always get it.
  dynamic "all_updates_rule" {
    for_each = length(var.alert_emails) > 0 ? [1] : []

    content {
      monitoring_notification_channels = slice(
        [for channel in google_monitoring_notification_channel.email : channel.id], 0,
        min(5, length(var.alert_emails)) # the API accepts at most five channels
      )
    }
  }

  depends_on = [google_project_service.api]
}
