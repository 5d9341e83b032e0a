# The values that only you know. variables.tf has the others, with defaults that work.

# The projects. Ids are unique in all of Google Cloud, so choose your own, such as "progress-dev-" and your initials and
# birthday: 6 to 30 lowercase letters, digits and hyphens. A new billing account can be linked to five projects: begin
# with dev (see README.md).
environments = {
  dev = "progress-dev"
  # staging = "progress-staging"
  # prod    = "progress-prod"
}
images_project = "progress-images"

# The column ACCOUNT_ID of `gcloud billing accounts list`
billing_account = "000000-000000-000000"

# Your copy of this repository, as OWNER/NAME. Its number is "id" at the top of https://api.github.com/repos/OWNER/NAME,
# not the one inside of "owner", "parent" or "source". This prints it:
# curl -s https://api.github.com/repos/OWNER/NAME | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])'
github = {
  repository    = "example/progress"
  repository_id = 123456789
}
