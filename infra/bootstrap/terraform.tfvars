# The environments to create. The values of each are at the top of ../terraform/environments/NAME.tfvars.
environments = ["dev"] # also "staging", "prod"

# Only for whoever delivers with GitHub Actions (docs/releases.md): the project that builds the images, and your copy of
# this repository. Its number is "id" at the top of https://api.github.com/repos/OWNER/NAME, not the one inside of
# "owner", "parent" or "source".
# images_project = "progress-images"
# github         = { repository = "example/progress", repository_id = 123456789 }
