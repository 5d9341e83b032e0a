# BigQuery: an external table over the archive's files, and a view with each accepted event once. BigQuery stores no
# copy but reads the bucket's files for each query, so that the erasure of a learner also takes effect in the view. A
# query reads the whole archive at least once, and reading old files costs more, because their storage class is colder.
# Nobody who queries the view needs a role on the bucket, because BigQuery reads the files with the service account of a
# connection.

resource "google_bigquery_dataset" "archive" {
  dataset_id  = "progress_archive"
  location    = var.region
  description = "The events of the archive, with learners' ids"

  depends_on = [google_project_service.api]
}

resource "google_bigquery_connection" "archive" {
  connection_id = "progress-archive"
  location      = var.region
  description   = "Reads the files of the archive"

  cloud_resource {}

  depends_on = [google_project_service.api]
}

# Google creates the service account of the connection some time after the connection itself. The grants need this
# account. They therefore wait until the functions' first images are built, which takes some minutes. By then, the
# account exists.
resource "google_storage_bucket_iam_member" "connection" {
  bucket = google_storage_bucket.archive.name
  role   = "roles/storage.objectViewer"
  member = "serviceAccount:${google_bigquery_connection.archive.cloud_resource[0].service_account_id}"

  condition {
    title      = "the events of the archive"
    expression = local.archive_conditions["events"]
  }

  depends_on = [terraform_data.image]
}

# BigQuery lists the bucket to find the files that match the pattern in `source_uris`.
resource "google_storage_bucket_iam_member" "connection_list" {
  bucket = google_storage_bucket.archive.name
  role   = "roles/storage.legacyBucketReader"
  member = "serviceAccount:${google_bigquery_connection.archive.cloud_resource[0].service_account_id}"

  depends_on = [terraform_data.image]
}

resource "google_bigquery_table" "archive" {
  dataset_id          = google_bigquery_dataset.archive.dataset_id
  table_id            = "archive"
  description         = "The rows of the archive's files, some repeated; the view `accepted_events` has each event once"
  deletion_protection = false                                       # the table holds no data
  schema              = file("${path.root}/analytics/archive.json") # not autodetected: a new archive has no files

  external_data_configuration {
    connection_id = google_bigquery_connection.archive.name
    source_format = "PARQUET"
    source_uris   = ["${google_storage_bucket.archive.url}/ranges/*.parquet"] # this `*` also matches slashes
    autodetect    = false
  }

  depends_on = [google_storage_bucket_iam_member.connection, google_storage_bucket_iam_member.connection_list]
}

resource "google_bigquery_table" "accepted_events" {
  dataset_id          = google_bigquery_dataset.archive.dataset_id
  table_id            = "accepted_events"
  description         = "Each accepted event once"
  deletion_protection = false

  view {
    query = templatefile("${path.root}/analytics/accepted_events.sql", {
      table = join(".", [
        var.project_id, google_bigquery_dataset.archive.dataset_id, google_bigquery_table.archive.table_id,
      ])
    })
    use_legacy_sql = false
  }
}
