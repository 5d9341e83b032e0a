output "name" {
  description = "The job's name. Resources that use this output are created after the job."
  value       = google_cloud_run_v2_job.this.name
}

output "id" {
  description = "The job's resource id."
  value       = google_cloud_run_v2_job.this.id
}
