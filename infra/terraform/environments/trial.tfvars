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

# Nobody signs in: the trial expects that unauthenticated requests are rejected.
auth = {
  issuer   = "https://auth.example.com"
  audience = "progress"
  jwks_url = "https://auth.example.com/jwks.json"
}

github = { repository = "example/progress" }
