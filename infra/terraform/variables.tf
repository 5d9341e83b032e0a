# The variables that every environment sets, in environments/*.tfvars. Each other file declares its own variables.

variable "project_id" {
  description = "The id of this environment's Google Cloud project. The project may be empty before the first apply."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "expected a project id: 6 to 30 lowercase letters, digits and hyphens"
  }
}

variable "region" {
  description = "The region of all resources."
  type        = string
  default     = "europe-west1"
}

variable "billing_account" {
  description = "The billing account of the project, for infra/bootstrap and for the budget alert; null: no alert."
  type        = string
  default     = null
}

variable "parent" {
  description = "The project's parent, which infra/bootstrap reads: organizations/NUMBER or folders/NUMBER."
  type        = string
  default     = null
}

variable "github" {
  description = "The repository and branch that GitHub Actions deliver; null: nobody but an operator delivers."
  type = object({
    repository = string # owner/name
    branch     = optional(string, "main")
  })
  default = null
}

variable "environment" {
  description = "dev, staging or prod."
  type        = string

  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "expected dev, staging or prod"
  }
}
