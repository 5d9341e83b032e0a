environments = {
  dev     = "progress-dev"
  staging = "progress-staging"
  prod    = "progress-prod"
  trial   = "progress-trial"
}

images_project  = "progress-images"
billing_account = "000000-000000-000000"

github = {
  repository    = "example/progress"
  repository_id = 123456789
}
