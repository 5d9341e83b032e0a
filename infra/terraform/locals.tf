locals {
  is_prod = var.environment == "prod"

  # As progress/settings.py names it.
  environment_name = { dev = "development", staging = "staging", prod = "production" }[var.environment]

  repository = "${path.root}/../.." # of the code

  # The contract of log fields: what the code writes and the alerts read.
  signals = jsondecode(file("${local.repository}/progress/adapters/telemetry/metric_fields.json"))
}
