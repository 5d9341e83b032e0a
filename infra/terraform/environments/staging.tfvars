# The products of production in their smallest sizes; docs/cost.md states the price.
project_id  = "progress-staging"
environment = "staging"

database = "cloud_sql"
redis    = "memorystore"
domain   = "staging.progress.example.com"
app_url  = "https://app.staging.example.com/learn"

functions = {
  ingest  = { cpu = "1", memory = "512Mi", concurrency = 100, min_instances = 0, max_instances = 2 }
  project = { cpu = "2", memory = "2Gi", concurrency = 10, min_instances = 0, max_instances = 2 }
  query   = { cpu = "2", memory = "1Gi", concurrency = 1000, min_instances = 1, max_instances = 2 }
}

auth = {
  issuer      = "https://auth.staging.example.com"
  audience    = "progress"
  jwks_url    = "https://auth.staging.example.com/.well-known/jwks.json"
  sign_in_url = "https://app.staging.example.com/sign-in"
}

api = {
  cors_origins  = ["https://app.staging.example.com"]
  introspection = false
}

publishers = {
  learning-events   = ["serviceAccount:learning@example-staging.iam.gserviceaccount.com"]
  algorithm-events  = ["serviceAccount:algorithm@example-staging.iam.gserviceaccount.com"]
  vocabulary-events = ["serviceAccount:vocabulary@example-staging.iam.gserviceaccount.com"]
  user-events       = ["serviceAccount:users@example-staging.iam.gserviceaccount.com"]
}

github = { repository = "example/progress" }

# An instance is kept ready only in office hours.
night = {
  time_zone     = "Europe/Brussels"
  evening       = "0 18 * * 1-5"
  morning       = "0 8 * * 1-5"
  min_instances = { query = 0 }
}

# Erasures happen soon enough to be noticed in a test.
erase_deleted_after_days = 1

dataflow = true

alert_emails = ["operations@example.com"]

# An e-mail warns of unexpected costs (see budget.tf).
billing_account = "000000-000000-000000"
monthly_budget  = 200
