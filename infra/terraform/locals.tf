locals {
  is_prod = var.environment == "prod"

  # The environment's name in progress/settings.py.
  environment_name = { dev = "development", staging = "staging", prod = "production" }[var.environment]

  repository = "${path.root}/../.." # the root of the source code

  # The log fields that the code writes, and that the metrics and alerts read.
  metric_fields = jsondecode(file("${local.repository}/progress/adapters/telemetry/metric_fields.json")).metric_fields
}
