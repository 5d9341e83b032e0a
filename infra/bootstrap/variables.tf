variable "environments" {
  description = "The project of each environment, by its name; trial is the one that is applied and destroyed to see that it works."
  type        = map(string)

  validation {
    condition     = length(setsubtract(keys(var.environments), ["dev", "staging", "prod", "trial"])) == 0
    error_message = "expected the projects of dev, staging, prod and trial, or of some of them"
  }
}

variable "images_project" {
  description = "The project that images are built and kept in, for all environments."
  type        = string
}

variable "billing_account" {
  description = "The billing account of all projects. Who applies needs roles/billing.admin on it."
  type        = string
}

variable "parent" {
  description = "Where the projects are made: folders/NUMBER or organizations/NUMBER; null without an organisation."
  type        = string
  default     = null

  validation {
    condition     = var.parent == null || can(regex("^(folders|organizations)/[0-9]+$", var.parent))
    error_message = "expected folders/NUMBER or organizations/NUMBER"
  }
}

variable "region" {
  description = "Where states and images are kept, and images built: Google lets a new project build in six regions only."
  type        = string
  default     = "europe-west1"

  # cloud.google.com/build/docs/locations, "Restricted regions for some projects".
  validation {
    condition     = contains(["asia-east1", "australia-southeast1", "europe-west1", "southamerica-east1", "us-central1", "us-west2"], var.region)
    error_message = "expected asia-east1, australia-southeast1, europe-west1, southamerica-east1, us-central1 or us-west2"
  }
}

variable "github" {
  description = "Whose workflows may work here: the repository, its number, its branch."
  type = object({
    repository    = string # owner/name
    repository_id = number # a name can be given to another; the number cannot
    branch        = optional(string, "main")
  })
}
