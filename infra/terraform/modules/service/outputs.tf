output "name" {
  description = "The service's name. Resources that use this output are created after the service."
  value       = google_cloud_run_v2_service.this.name
}

output "uri" {
  description = "The service's URL."
  value       = google_cloud_run_v2_service.this.uri
}

output "image" {
  description = "The image that the service runs."
  value       = google_cloud_run_v2_service.this.template[0].containers[0].image
}
