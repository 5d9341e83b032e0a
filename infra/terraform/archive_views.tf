# BigQuery: views that answer questions across learners from the archive. BigQuery stores no copy but reads the bucket's
# files for each query, so that the erasure of a learner also takes effect in these views. A query reads the whole
# archive at least once, and reading old files costs more, because their storage class is colder.
#
# The dataset `progress_archive` has the events, with learners' ids. The dataset `progress_questions` has the views that
# answer the questions; each row of these views summarises 20 or more learners. The views are authorized to read the
# dataset `progress_archive`, so that analysts need a role on `progress_questions` only. Nobody who queries a view needs
# a role on the bucket, because BigQuery reads the files with the service account of a connection.

variable "analysts" {
  description = "Who may query the answers to questions across learners, such as group:analysts@example.com."
  type        = list(string)
  default     = []
}

locals {
  archive_questions = {
    retention = "Tests and recalled tests by week and maturity"
    items     = "Tests and answers by item, level and domain"
    cohorts   = "Learners by the week of their first study day, and how many study in later weeks"
  }

  archive_tables = {
    for name in ["archive", "accepted_events", "learner_events"] :
    name => "`${var.project_id}.${google_bigquery_dataset.archive.dataset_id}.${name}`"
  }

  # The views of `progress_questions` are authorized to read the tables of `progress_archive`. The views of
  # `progress_archive` are not authorized, so an analyst cannot read the tables through them. Therefore, a view of
  # `progress_questions` contains the queries of the views of `progress_archive`, instead of selecting from those views.
  accepted_events_query = templatefile("${path.root}/analytics/accepted_events.sql", local.archive_tables)
  learner_events_query = templatefile("${path.root}/analytics/learner_events.sql", {
    accepted_events = "(\n${local.accepted_events_query})"
  })
}

resource "google_bigquery_dataset" "archive" {
  dataset_id  = "progress_archive"
  location    = var.region
  description = "The events of the archive, with learners' ids"

  depends_on = [google_project_service.api]
}

resource "google_bigquery_dataset" "questions" {
  dataset_id  = "progress_questions"
  location    = var.region
  description = "Answers to questions across learners"

  depends_on = [google_project_service.api]
}

resource "google_bigquery_dataset_access" "questions" {
  dataset_id = google_bigquery_dataset.archive.dataset_id

  dataset {
    target_types = ["VIEWS"]

    dataset {
      project_id = var.project_id
      dataset_id = google_bigquery_dataset.questions.dataset_id
    }
  }
}

resource "google_bigquery_dataset_iam_member" "analyst" {
  for_each = toset(var.analysts)

  dataset_id = google_bigquery_dataset.questions.dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = each.value
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
    query          = local.accepted_events_query
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_table.archive]
}

resource "google_bigquery_table" "learner_events" {
  dataset_id          = google_bigquery_dataset.archive.dataset_id
  table_id            = "learner_events"
  description         = "Answers, reviews and completed sessions with their local day"
  deletion_protection = false

  view {
    query          = templatefile("${path.root}/analytics/learner_events.sql", local.archive_tables)
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_table.accepted_events]
}

resource "google_bigquery_table" "question" {
  for_each = local.archive_questions

  dataset_id          = google_bigquery_dataset.questions.dataset_id
  table_id            = each.key
  description         = "${each.value}; each row summarises 20 or more learners"
  deletion_protection = false

  view {
    query = templatefile("${path.root}/analytics/${each.key}.sql", {
      accepted_events = "(\n${local.accepted_events_query})"
      learner_events  = "(\n${local.learner_events_query})"
      fewest_learners = 20
    })
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_dataset_access.questions, google_bigquery_table.archive]
}
