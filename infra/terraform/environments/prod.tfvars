project_id  = "progress-prod"
environment = "prod"

database = "cloud_sql"
redis    = "memorystore"
domain   = "progress.example.com"
app_url  = "https://app.example.com/learn"

functions = {
  ingest  = { cpu = "1", memory = "512Mi", concurrency = 100, min_instances = 1, max_instances = 10 }
  project = { cpu = "2", memory = "2Gi", concurrency = 10, min_instances = 1, max_instances = 5 }
  query   = { cpu = "2", memory = "1Gi", concurrency = 1000, min_instances = 2, max_instances = 20 }
}

auth = {
  issuer      = "https://auth.example.com"
  audience    = "progress"
  jwks_url    = "https://auth.example.com/.well-known/jwks.json"
  sign_in_url = "https://app.example.com/sign-in"
}

api = {
  cors_origins  = ["https://app.example.com"]
  introspection = false
}

publishers = {
  learning-events   = ["serviceAccount:learning@example-prod.iam.gserviceaccount.com"]
  algorithm-events  = ["serviceAccount:algorithm@example-prod.iam.gserviceaccount.com"]
  vocabulary-events = ["serviceAccount:vocabulary@example-prod.iam.gserviceaccount.com"]
  user-events       = ["serviceAccount:users@example-prod.iam.gserviceaccount.com"]
}

github = { repository = "example/progress" }

night = {
  time_zone     = "Europe/Brussels"
  evening       = "0 22 * * *"
  morning       = "0 6 * * *"
  min_instances = { ingest = 0, project = 0, query = 1 }
}

# This leaves time to notice a mistaken deletion, because an erasure cannot be undone.
erase_deleted_after_days = 30

# An archive cannot change its number of buckets. 256 are enough for more than a billion events (see docs/scale.md).
archive_buckets = 256

dataflow = true

alert_emails = ["operations@example.com"]

# The cost of a month at 100,000 events a day, with a reserve (see docs/cost.md).
billing_account = "000000-000000-000000"
monthly_budget  = 500
