# Where each environment's log lines are: in its region. Google's bucket `_Default` is in no region that one can choose.
# The buckets are here, because Google keeps a deleted one for seven days: an environment that was destroyed could not
# be applied again in this time.

resource "google_logging_project_bucket_config" "logs" {
  for_each = local.environments

  project         = google_project.this[each.key].project_id
  location        = local.regions[each.key]
  bucket_id       = "progress"
  retention_days  = 30 # docs/data-protection.md says so, and Google stores so many days without a price
  deletion_policy = "ABANDON"

  depends_on = [google_project_service.first]
}

# The provider takes the sink that each project has from the beginning. What it does not take are Google's audit logs of
# changes, which another sink keeps for 400 days.
resource "google_logging_project_sink" "default" {
  for_each = local.environments

  project     = google_project.this[each.key].project_id
  name        = "_Default"
  destination = "logging.googleapis.com/${google_logging_project_bucket_config.logs[each.key].id}"
  filter = join(" AND ", [
    for log in setproduct(["cloudaudit", "externalaudit"], ["activity", "system_event", "access_transparency"]) :
    "NOT LOG_ID(\"${log[0]}.googleapis.com/${log[1]}\")"
  ])
  unique_writer_identity = true
  deletion_policy        = "ABANDON"

  lifecycle {
    ignore_changes = [exclusions] # docs/cost.md adds one
  }
}

# Nobody deletes the project of prod by mistake, in the console neither: Google refuses it while the lien is there.
resource "google_resource_manager_lien" "prod" {
  for_each = { for name, file in local.files : name => file if file.environment == "prod" }

  parent       = "projects/${google_project.this[each.key].number}"
  restrictions = ["resourcemanager.projects.delete"]
  origin       = "progress"
  reason       = "Production: learners' records"
}
