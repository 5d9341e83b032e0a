# The inputs that a job and a service share: modules/job has a link to this file.

terraform {
  required_providers {
    google = {
      source = "hashicorp/google"
    }
  }
}

variable "name" {
  description = "The name."
  type        = string
}

variable "region" {
  description = "The region where it runs."
  type        = string
}

variable "account" {
  description = "The e-mail address of the service account that it runs as."
  type        = string
}

variable "image" {
  description = "The image that it is created with; releases set later ones."
  type        = string
}

variable "settings" {
  description = "The environment variables; a null value is left out."
  type        = map(string)
}

variable "secrets" {
  description = "The environment variables from secrets: the secret's id by variable."
  type        = map(string)
}

variable "network" {
  description = "The network and subnetwork of its instances or tasks, and the traffic to route through them."
  type        = object({ network = string, subnetwork = string, egress = string })
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete it."
  type        = bool
}
