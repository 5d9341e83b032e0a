terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.46, < 8"
    }
    random = {
      source  = "hashicorp/random"
      version = "~> 3.7"
    }
  }

  # Each environment has its own state bucket, PROJECT-terraform-state. `terraform init` names it (see README.md).
  backend "gcs" { prefix = "progress" }
}

provider "google" {
  project = var.project_id
  region  = var.region

  # If an operator runs Terraform with their own sign-in, some APIs, such as budgets, accept only calls that name the
  # project to bill.
  user_project_override = true
  billing_project       = var.project_id

  default_labels = {
    app         = "progress"
    environment = var.environment
  }
}

data "google_project" "this" {}
