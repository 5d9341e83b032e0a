# What an environment must say, or may: environments/*.tfvars say it. A concern's own variables stand in its file.

variable "project_id" {
  description = "The Google Cloud project of this environment; nothing has to be in it yet."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "expected the id of a project"
  }
}

variable "region" {
  description = "Where everything runs."
  type        = string
  default     = "europe-west1"
}

variable "environment" {
  description = "dev, staging or prod."
  type        = string

  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "expected dev, staging or prod"
  }
}
