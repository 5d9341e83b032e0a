# The free profile (docs/cost.md), which lacks some of production's products. Staging has all of them.
project_id  = "progress-dev"
environment = "dev"

database = "neon"
neon = {
  host     = "ep-example-dev.eu-central-1.aws.neon.tech"
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
  issuer      = "https://auth.dev.example.com"
  audience    = "progress"
  jwks_url    = "https://auth.dev.example.com/.well-known/jwks.json"
  sign_in_url = "https://app.dev.example.com/sign-in"
}

api = {
  cors_origins  = ["https://app.dev.example.com"]
  introspection = true
}

publishers = {
  learning-events   = ["serviceAccount:learning@example-dev.iam.gserviceaccount.com"]
  algorithm-events  = ["serviceAccount:algorithm@example-dev.iam.gserviceaccount.com"]
  vocabulary-events = ["serviceAccount:vocabulary@example-dev.iam.gserviceaccount.com"]
  user-events       = ["serviceAccount:users@example-dev.iam.gserviceaccount.com"]
}

# An example of a subscription to the published events, which a program of the account pulls.
event_subscriptions = {
  progress-events-example-sub = {
    subscribers = ["serviceAccount:rewards@example-dev.iam.gserviceaccount.com"]
  }
}

github = { repository = "example/progress" }

# Lets Neon's database sleep while there are no events, and keeps the job within the free minutes (see docs/cost.md).
batch_on_demand = true
batch_minutes   = 15

# Without alert_emails, nobody is told of dev's alerts; the output `alerting` says so.

# Traces cost nothing at this volume (see docs/cost.md).
trace_sample_ratio = 1

# An e-mail warns of unexpected costs (see budget.tf).
billing_account = "000000-000000-000000"
monthly_budget  = 5
