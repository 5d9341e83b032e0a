# The values that only you know (dev.tfvars says where you find the first). Without github, only an operator delivers.
project_id      = "progress-prod"
billing_account = "000000-000000-000000"
parent          = "organizations/000000000000"
github          = { repository = "example/progress" }

# A name below a domain of yours, whose records you set after the apply, and who gets alerts.
domain       = "progress.example.com"
alert_emails = ["operations@example.com"]

# Your app: its address for learners, the origins of its pages, and its Firebase project (Project settings in
# console.firebase.google.com) with its page that signs in (examples/sign-in). docs/settings.md has other issuers.
app_url = "https://app.example.com/learn"
api     = { cors_origins = ["https://app.example.com"] }
auth    = { audience = "example-prod", sign_in_url = "https://app.example.com/sign-in" }

# The accounts with which your services publish events: `gcloud iam service-accounts list --project=PROJECT`.
publishers = {
  learning-events   = ["serviceAccount:learning@example-prod.iam.gserviceaccount.com"]
  algorithm-events  = ["serviceAccount:algorithm@example-prod.iam.gserviceaccount.com"]
  vocabulary-events = ["serviceAccount:vocabulary@example-prod.iam.gserviceaccount.com"]
  user-events       = ["serviceAccount:users@example-prod.iam.gserviceaccount.com"]
}

# Everything below works as it is.
environment = "prod"

# The Google Cloud region nearest to your learners; the default is europe-west1, in Belgium:
# region = "asia-northeast1"

database = "cloud_sql"
redis    = "memorystore"

functions = {
  ingest  = { cpu = "1", memory = "512Mi", concurrency = 100, min_instances = 1, max_instances = 10 }
  project = { cpu = "2", memory = "2Gi", concurrency = 10, min_instances = 1, max_instances = 5 }
  query   = { cpu = "2", memory = "1Gi", concurrency = 1000, min_instances = 2, max_instances = 20 }
}

night = {
  time_zone     = "Europe/Brussels" # where your learners sleep: an IANA name, such as "Asia/Tokyo"
  evening       = "0 22 * * *"
  morning       = "0 6 * * *"
  min_instances = { query = 1 } # ingest and project keep their instance (docs/decisions.md)
}

# This leaves time to notice a mistaken deletion, because an erasure cannot be undone.
erase_deleted_after_days = 30

# An archive cannot change its number of buckets. 256 are enough for more than a billion events (see docs/scale.md).
archive_buckets = 256

# The cost of a month at 100,000 events a day, with a reserve (see docs/cost.md).
monthly_budget = 500
