# The products of production in their smallest sizes; docs/cost.md states the price.

# The values that only you know (dev.tfvars says where you find the first). Without github, only an operator delivers.
project_id      = "progress-staging"
billing_account = "000000-000000-000000"
parent          = "organizations/000000000000"
github          = { repository = "example/progress" }

# A name below a domain of yours, whose records you set after the apply, and who gets alerts.
domain       = "staging.progress.example.com"
alert_emails = ["operations@example.com"]

# Your app: its address for learners, the origins of its pages, and its Firebase project (Project settings in
# console.firebase.google.com) with its page that signs in (examples/sign-in). docs/settings.md has other issuers.
app_url = "https://app.staging.example.com/learn"
api     = { cors_origins = ["https://app.staging.example.com"] }
auth    = { audience = "example-staging", sign_in_url = "https://app.staging.example.com/sign-in" }

# The accounts with which your services publish events: `gcloud iam service-accounts list --project=PROJECT`.
publishers = {
  learning-events   = ["serviceAccount:learning@example-staging.iam.gserviceaccount.com"]
  algorithm-events  = ["serviceAccount:algorithm@example-staging.iam.gserviceaccount.com"]
  vocabulary-events = ["serviceAccount:vocabulary@example-staging.iam.gserviceaccount.com"]
  user-events       = ["serviceAccount:users@example-staging.iam.gserviceaccount.com"]
}

# Everything below works as it is.
environment = "staging"

# The Google Cloud region nearest to your learners; the default is europe-west1, in Belgium:
# region = "asia-northeast1"

database = "cloud_sql"
redis    = "memorystore"

functions = {
  ingest  = { cpu = "1", memory = "512Mi", concurrency = 100, min_instances = 0, max_instances = 2 }
  project = { cpu = "2", memory = "2Gi", concurrency = 10, min_instances = 0, max_instances = 2 }
  query   = { cpu = "2", memory = "1Gi", concurrency = 1000, min_instances = 1, max_instances = 2 }
}

# An instance is kept ready only in office hours.
night = {
  time_zone     = "Europe/Brussels" # where your learners sleep: an IANA name, such as "Asia/Tokyo"
  evening       = "0 18 * * 1-5"
  morning       = "0 8 * * 1-5"
  min_instances = { query = 0 }
}

# Erasures happen soon enough to be noticed in a test.
erase_deleted_after_days = 1

# An e-mail warns of unexpected costs (see budget.tf).
monthly_budget = 200
