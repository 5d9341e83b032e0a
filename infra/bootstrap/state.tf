# A bucket for the state of each environment, and for this root's own in the images' project.

resource "google_storage_bucket" "state" {
  for_each = local.projects

  project                     = google_project.this[each.key].project_id
  name                        = "${each.value}-terraform-state"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  versioning {
    enabled = true
  }

  # A state that was spoilt can be had back for three months, and the last twenty at any time.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 90
      num_newer_versions         = 20
      with_state                 = "ARCHIVED"
    }
  }

  depends_on = [google_project_service.first]
}

# terraform writes the state and its lock; terraform-plan reads it, and takes no lock.
resource "google_storage_bucket_iam_member" "state" {
  for_each = {
    for each in setproduct(keys(var.environments), ["terraform", "terraform-plan"]) : join(" ", each) => {
      environment = each[0]
      account     = each[1]
      role        = each[1] == "terraform" ? "roles/storage.objectAdmin" : "roles/storage.objectViewer"
    }
  }

  bucket = google_storage_bucket.state[each.value.environment].name
  role   = each.value.role
  member = google_service_account.ci["${each.value.environment} ${each.value.account}"].member
}
