locals {
  is_prod = var.environment == "prod"

  # The environment's name in progress/settings.py.
  environment_name = { dev = "development", staging = "staging", prod = "production" }[var.environment]

  # The pipeline's account, which infra/bootstrap creates for whoever delivers with GitHub Actions.
  pipeline = toset(var.github == null ? [] : ["pipeline"])
  runbook = var.github == null ? "docs/runbook.md" : (
    "https://github.com/${var.github.repository}/blob/${var.github.branch}/docs/runbook.md"
  )

  repository = "${path.root}/../.." # the root of the source code

  # The log fields that the code writes, and that the metrics and alerts read; and the metrics that it only exports.
  declared_fields = jsondecode(file("${local.repository}/progress/adapters/telemetry/metric_fields.json"))
  metric_fields   = local.declared_fields.metric_fields
}
