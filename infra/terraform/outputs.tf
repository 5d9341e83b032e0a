# What the pipeline and an operator need to know.

output "urls" {
  description = "Where each function answers."
  value       = { for name, each in module.function : name => each.uri }
}

output "images" {
  description = "Where this environment's own images are."
  value       = local.images
}

output "services" {
  description = "The name of each function's service."
  value       = { for name, each in module.function : name => each.name }
}

output "jobs" {
  description = "The name of each job."
  value       = { for name, each in module.job : name => each.name }
}

output "accounts" {
  description = "Who each part is."
  value       = { for name, each in google_service_account.member : name => each.email }
}
