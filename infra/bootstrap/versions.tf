terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.40, < 8"
    }
  }

  # In the images' project, after the first apply: README.md.
  backend "gcs" {}
}

# The provider has no project, because this root creates the projects: each resource names its own.
provider "google" {
  region = var.region

  default_labels = {
    app = "progress"
  }
}
