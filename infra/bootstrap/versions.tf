terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.46, < 8"
    }
    terraform = {
      source = "terraform.io/builtin/terraform"
    }
  }

  # The bucket is in a project that the first apply creates. The first apply therefore writes the state to a local file,
  # which then moves to the bucket (see README.md).
  backend "gcs" { prefix = "bootstrap" }
}

# The provider does not set a project, because this root creates the projects. Each resource names its project.
provider "google" {
  default_labels = {
    app = "progress"
  }
}
