# What .github/workflows/trial.yaml makes, asks and takes away again: every part that costs by the hour.
project_id  = "progress-trial"
environment = "dev"

database = "cloud_sql"
redis    = "memorystore"

functions = {
  ingest  = { cpu = "1", memory = "512Mi", at_once = 100, least = 0, most = 2 }
  project = { cpu = "2", memory = "2Gi", at_once = 10, least = 0, most = 2 }
  query   = { cpu = "2", memory = "1Gi", at_once = 1000, least = 0, most = 2 }
}

# Nobody signs in: a stranger is refused.
auth = {
  issuer   = "https://auth.example.com"
  audience = "progress"
  jwks_url = "https://auth.example.com/jwks.json"
}

github = { repository = "example/progress" }
