# Source archives for the first build of each function. An archive has only the files that the function needs.

locals {
  # The buildpack installs requirements.txt and runs main.py, both at the archive's root.
  shared_files = [
    for path in concat(
      ["requirements.txt"],
      tolist(fileset(local.repository, "progress/**")),
      tolist(fileset(local.repository, "sql/**")),
    ) : path if length(regexall("(^|/)(__pycache__|\\.[^/]*)(/|$)|\\.pyc$", path)) == 0
  ]

  # Path in the archive => path in the repository.
  own_files = {
    ingest = { "main.py" = "functions/ingest/main.py" }
    project = {
      "main.py"                       = "functions/project/main.py"
      "jobs/batch_aggregates/main.py" = "jobs/batch_aggregates/main.py"
    }
    query = { "main.py" = "functions/query/main.py" }
  }

  archived_files = {
    for function, own in local.own_files : function => merge({ for path in local.shared_files : path => path }, own)
  }
}

data "archive_file" "source" {
  for_each = local.archived_files

  type             = "zip"
  output_path      = "${path.root}/.terraform/sources/${each.key}.zip"
  output_file_mode = "0644"

  dynamic "source" {
    for_each = each.value
    content {
      filename = source.key
      content  = file("${local.repository}/${source.value}")
    }
  }
}

resource "google_storage_bucket" "sources" {
  name                        = "${var.project_id}-sources"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !local.is_prod

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 30
      matches_prefix = ["builds/"] # gcloud uploads the archives there
    }
  }

  depends_on = [google_project_service.api]
}
