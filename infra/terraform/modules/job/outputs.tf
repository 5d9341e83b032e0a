output "name" {
  description = "The job's name, known once the job is there."
  value       = google_cloud_run_v2_job.this.name
}

output "id" {
  description = "The job's resource id."
  value       = google_cloud_run_v2_job.this.id
}

output "settings" {
  description = "The environment variables that the job has, without secrets."
  value       = { for env in google_cloud_run_v2_job.this.template[0].template[0].containers[0].env : env.name => env.value if length(env.value_source) == 0 }
}
