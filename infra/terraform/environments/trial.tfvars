# What .github/workflows/trial.yaml makes, asks and takes away again: every part that costs by the hour.
project_id  = "progress-trial"
environment = "dev"

database = "cloud_sql"
redis    = "memorystore"

functions = {
  ingest  = { cpu = "1", memory = "512Mi", concurrency = 100, min_instances = 0, max_instances = 2 }
  project = { cpu = "2", memory = "2Gi", concurrency = 10, min_instances = 0, max_instances = 2 }
  query   = { cpu = "2", memory = "1Gi", concurrency = 1000, min_instances = 0, max_instances = 2 }
}

# Nobody signs in: a stranger is refused.
auth = {
  issuer   = "https://auth.example.com"
  audience = "progress"
  jwks_url = "https://auth.example.com/jwks.json"
}

github = { repository = "example/progress" }
