# The inputs that modules/service and modules/job share; in modules/job, this file is a symbolic link.

terraform {
  required_providers {
    google = {
      source = "hashicorp/google"
    }
  }
}

variable "name" {
  description = "The name of the service or job."
  type        = string
}

variable "region" {
  description = "The region where the service or job runs."
  type        = string
}

variable "account" {
  description = "The e-mail address of the service account that the service or job runs as."
  type        = string
}

variable "image" {
  description = "The image that the service or job is created with; releases set later images."
  type        = string
}

variable "settings" {
  description = "The environment variables; a null value is left out."
  type        = map(string)
}

variable "secrets" {
  description = "The environment variables that come from secrets: each variable's name, and the id of its secret."
  type        = map(string)
}

variable "network" {
  description = "The network and subnetwork of the instances or tasks, and the traffic that goes through the network."
  type        = object({ network = string, subnetwork = string, egress = string })
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete the service or job."
  type        = bool
}
