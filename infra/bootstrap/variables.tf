variable "environments" {
  description = "The project of each environment. A test applies and destroys the environment `trial`."
  type        = map(string)

  validation {
    condition     = length(setsubtract(keys(var.environments), ["dev", "staging", "prod", "trial"])) == 0
    error_message = "expected the projects of dev, staging, prod and trial, or of some of them"
  }
}

variable "images_project" {
  description = "The project that builds and stores the images of all environments."
  type        = string
}

variable "billing_account" {
  description = "The billing account of all projects. Whoever applies needs roles/billing.admin on it."
  type        = string
}

variable "parent" {
  description = "The parent of the projects: folders/NUMBER or organizations/NUMBER. Null means no organisation."
  type        = string
  default     = null

  validation {
    condition     = var.parent == null || can(regex("^(folders|organizations)/[0-9]+$", var.parent))
    error_message = "expected folders/NUMBER or organizations/NUMBER"
  }
}

variable "region" {
  description = "The region of states, images and builds: one of the six in which Google lets new projects build."
  type        = string
  default     = "europe-west1"

  # See "Restricted regions for some projects" on cloud.google.com/build/docs/locations.
  validation {
    condition = contains(
      ["asia-east1", "australia-southeast1", "europe-west1", "southamerica-east1", "us-central1", "us-west2"],
      var.region,
    )
    error_message = join(" ", [
      "expected asia-east1, australia-southeast1, europe-west1, southamerica-east1,",
      "us-central1 or us-west2",
    ])
  }
}

variable "github" {
  description = "The repository whose workflows get access, with its number and its branch."
  type = object({
    repository    = string # owner/name
    repository_id = number # a name can be reused, the number cannot
    branch        = optional(string, "main")
  })
}
