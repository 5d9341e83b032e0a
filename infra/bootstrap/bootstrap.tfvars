# The values that only you know. variables.tf has the others, with defaults that work.

# The projects. Ids are unique in all of Google Cloud, so choose your own, such as "progress-dev-4711". A new billing
# account can be linked to five projects: begin with dev (see README.md).
environments = {
  dev = "progress-dev"
  # staging = "progress-staging"
  # prod    = "progress-prod"
  # trial   = "progress-trial"
}
images_project = "progress-images"

# The column ACCOUNT_ID of `gcloud billing accounts list`
billing_account = "000000-000000-000000"

# Your copy of this repository. Its number is "id" in https://api.github.com/repos/OWNER/NAME, or what
# `gh api repos/OWNER/NAME --jq .id` prints.
github = {
  repository    = "example/progress"
  repository_id = 123456789
}
