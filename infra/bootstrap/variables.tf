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

variable "github" {
  description = "The repository whose workflows get access, with its number and its branch; null: none has access."
  type = object({
    repository    = string # owner/name
    repository_id = number # a name can be reused, the number cannot
    branch        = optional(string, "main")
  })
  default = null
}
