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

  # Each environment has its own state bucket, named in environments/*.gcs.tfbackend.
  backend "gcs" {}
}

provider "google" {
  project = var.project_id
  region  = var.region

  # For an operator's own sign-in: some APIs, such as budgets, require the project that the call is billed to.
  user_project_override = true
  billing_project       = var.project_id

  default_labels = {
    app         = "progress"
    environment = var.environment
  }
}

data "google_project" "this" {}
