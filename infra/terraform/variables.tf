# What an environment must say, or may: environments/*.tfvars say it. A concern's own variables stand in its file.

variable "project_id" {
  description = "The Google Cloud project of this environment; nothing has to be in it yet."
  type        = string
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
