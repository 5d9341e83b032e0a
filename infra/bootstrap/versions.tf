terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.40, < 8"
    }
  }

  # In the images' project, once that is there: README.md.
  backend "gcs" {}
}

# It makes the projects, so that it names none: each resource says in which one it is.
provider "google" {
  region = var.region

  default_labels = {
    app = "progress"
  }
}
