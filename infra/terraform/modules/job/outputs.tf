output "name" {
  description = "The job's name. Resources that use this output are created after the job."
  value       = google_cloud_run_v2_job.this.name
}

output "id" {
  description = "The job's resource id."
  value       = google_cloud_run_v2_job.this.id
}

output "settings" {
  description = "The job's environment variables, without secrets."
  value = {
    for env in google_cloud_run_v2_job.this.template[0].template[0].containers[0].env : env.name => env.value
    if length(env.value_source) == 0
  }
}
