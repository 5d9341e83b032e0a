variable "environments" {
  description = "The environments to create: the names of files in infra/terraform/environments."
  type        = set(string)
  default     = ["dev"]

  validation {
    condition     = length(setsubtract(var.environments, ["dev", "staging", "prod"])) == 0
    error_message = "expected dev, staging and prod, or some of them"
  }
}

variable "images_project" {
  description = "The project in which GitHub Actions builds the images of all environments; null without `github`."
  type        = string
  default     = null

  validation {
    condition     = (var.images_project == null) == (var.github == null)
    error_message = "expected images_project and github, or neither"
  }
}

variable "images_region" {
  description = "The region of images_project: one of the six in which Google lets new projects build."
  type        = string
  default     = "europe-west1"

  # See "Restricted regions for some projects" on cloud.google.com/build/docs/locations.
  validation {
    condition = contains(
      ["asia-east1", "australia-southeast1", "europe-west1", "southamerica-east1", "us-central1", "us-west2"],
      var.images_region,
    )
    error_message = join(" ", [
      "expected asia-east1, australia-southeast1, europe-west1, southamerica-east1,",
      "us-central1 or us-west2",
    ])
  }
}

variable "github" {
  description = "The repository whose workflows get access, with its number and its branch; null: none has access."
  type = object({
    repository    = string # owner/name
    repository_id = number # a name can be reused, the number cannot
    branch        = optional(string, "main")
  })
  default = null
}
