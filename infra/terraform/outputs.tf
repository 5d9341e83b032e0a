# Outputs for the pipeline and the operator.

output "urls" {
  description = "The URL of each function."
  value       = { for name, function in module.function : name => function.uri }
}

output "images" {
  description = "The registry of the functions' first images, which the first apply builds."
  value       = local.images
}

output "services" {
  description = "The name of each function's service."
  value       = { for name, function in module.function : name => function.name }
}

output "jobs" {
  description = "The name of each job."
  value       = { for name, job in module.job : name => job.name }
}

output "accounts" {
  description = "The e-mail address of each service account, by service, job or tool."
  value       = { for name, account in google_service_account.member : name => account.email }
}
