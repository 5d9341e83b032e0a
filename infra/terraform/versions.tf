terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.40, < 8"
    }
    archive = {
      source  = "hashicorp/archive"
      version = "~> 2.7"
    }
    random = {
      source  = "hashicorp/random"
      version = "~> 3.7"
    }
  }

  # Each environment's state lies in a bucket of its own: environments/*.gcs.tfbackend name it.
  backend "gcs" {}
}

provider "google" {
  project = var.project_id
  region  = var.region

  # An operator's own sign-in: some APIs, that of budgets among them, want to be told on whose account they are called.
  user_project_override = true
  billing_project       = var.project_id

  default_labels = {
    app         = "progress"
    environment = var.environment
  }
}

data "google_project" "this" {}
