# The environment that .github/workflows/trial.yaml creates, tests and destroys, with Cloud SQL and Memorystore.
project_id  = "progress-trial"
environment = "dev"

database = "cloud_sql"
redis    = "memorystore"

functions = {
  ingest  = { cpu = "1", memory = "512Mi", concurrency = 100, min_instances = 0, max_instances = 2 }
  project = { cpu = "2", memory = "2Gi", concurrency = 10, min_instances = 0, max_instances = 2 }
  query   = { cpu = "2", memory = "1Gi", concurrency = 1000, min_instances = 0, max_instances = 2 }
}

# GitHub signs the tokens of the trial's learner. Every workflow at GitHub can get such a token, but only with its own
# subject, so that each can only read its own data.
auth = {
  issuer   = "https://token.actions.githubusercontent.com"
  audience = "progress-trial"
  jwks_url = "https://token.actions.githubusercontent.com/.well-known/jwks"
}

# As in staging and prod, so that the trial also runs a schedule that changes a service.
night = {
  time_zone     = "Etc/UTC"
  evening       = "0 22 * * *"
  morning       = "0 6 * * *"
  min_instances = { query = 0 }
}

# The workflow sets `github`, with its own repository.
