output "name" {
  description = "The service's name. Resources that use this output are created after the service."
  value       = google_cloud_run_v2_service.this.name
}

output "uri" {
  description = "The service's URL."
  value       = google_cloud_run_v2_service.this.uri
}
