# A bucket in each project for the Terraform state of its environment. One of them also holds the state of this root:
# that of the images' project or, without it, that of the first environment.

resource "google_storage_bucket" "state" {
  for_each = local.projects

  project                     = google_project.this[each.key].project_id
  name                        = "${each.value}-terraform-state"
  location                    = local.regions[each.key]
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  versioning { enabled = true }

  # Old versions make it possible to restore a damaged state. A version is deleted 90 days after it was replaced,
  # but only if 20 newer versions exist.
  lifecycle_rule {
    action { type = "Delete" }
    condition {
      days_since_noncurrent_time = 90
      num_newer_versions         = 20
      with_state                 = "ARCHIVED"
    }
  }

  depends_on = [google_project_service.first]
}

# The account `terraform` writes the state and the lock. The account `terraform-plan` only reads the state, and does not
# lock it.
resource "google_storage_bucket_iam_member" "state" {
  for_each = {
    for pair in setproduct(keys(local.delivered), ["terraform", "terraform-plan"]) : join(" ", pair) => {
      environment = pair[0]
      account     = pair[1]
      role        = pair[1] == "terraform" ? "roles/storage.objectAdmin" : "roles/storage.objectViewer"
    }
  }

  bucket = google_storage_bucket.state[each.value.environment].name
  role   = each.value.role
  member = google_service_account.ci["${each.value.environment} ${each.value.account}"].member
}
