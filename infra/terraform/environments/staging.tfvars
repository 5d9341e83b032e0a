project_id  = "progress-staging"
environment = "staging"

database = "neon"
neon = {
  host     = "ep-example-staging.eu-central-1.aws.neon.tech"
  database = "progress"
  owner    = "progress_owner"
}
redis = "none"

# Neon's free plan: each function opens at most five connections. A request to project that rebuilds opens four, and one
# that folds opens one.
functions = {
  ingest  = { cpu = "1", memory = "512Mi", concurrency = 100, min_instances = 0, max_instances = 2 }
  project = { cpu = "2", memory = "2Gi", concurrency = 2, min_instances = 0, max_instances = 1 }
  query   = { cpu = "2", memory = "1Gi", concurrency = 1000, min_instances = 0, max_instances = 1 }
}
database_pool = { size = 3, past_sessions = 2, idle_seconds = 60 }

auth = {
  issuer      = "https://auth.staging.example.com"
  audience    = "progress"
  jwks_url    = "https://auth.staging.example.com/.well-known/jwks.json"
  sign_in_url = "https://app.staging.example.com/sign-in"
}

api = {
  cors_origins  = ["https://app.staging.example.com"]
  introspection = true
}

publishers = {
  learning-events   = ["serviceAccount:learning@example-staging.iam.gserviceaccount.com"]
  algorithm-events  = ["serviceAccount:algorithm@example-staging.iam.gserviceaccount.com"]
  vocabulary-events = ["serviceAccount:vocabulary@example-staging.iam.gserviceaccount.com"]
  user-events       = ["serviceAccount:users@example-staging.iam.gserviceaccount.com"]
}

github = { repository = "example/progress" }

# Lets Neon's database sleep while there are no events, and keeps the job within the free minutes (see docs/cost.md).
batch_on_demand = true
batch_minutes   = 15

alert_emails = ["operations@example.com"]

# An e-mail warns of unexpected costs (see budget.tf).
billing_account = "000000-000000-000000"
monthly_budget  = 5
