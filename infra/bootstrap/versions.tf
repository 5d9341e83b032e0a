terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.40, < 8"
    }
  }

  # The bucket is in the images' project, and is used after the first apply: README.md.
  backend "gcs" {}
}

# The provider has no project, because this root creates the projects. Each resource names its project.
provider "google" {
  region = var.region

  default_labels = {
    app = "progress"
  }
}
