output "name" {
  description = "The service's name, known once the service is there."
  value       = google_cloud_run_v2_service.this.name
}

output "uri" {
  description = "The service's own address."
  value       = google_cloud_run_v2_service.this.uri
}

output "image" {
  description = "The image that the service runs."
  value       = google_cloud_run_v2_service.this.template[0].containers[0].image
}

output "settings" {
  description = "The environment variables that the service has, without secrets."
  value       = { for env in google_cloud_run_v2_service.this.template[0].containers[0].env : env.name => env.value if length(env.value_source) == 0 }
}
