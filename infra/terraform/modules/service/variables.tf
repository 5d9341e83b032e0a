variable "name" {
  description = "The service's name."
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
  description = "The image that the service is made with. Releases bring later ones."
  type        = string
}

variable "size" {
  description = "The CPUs and memory of an instance, its requests at once, and the least and most instances."
  type = object({
    cpu           = string
    memory        = string
    concurrency   = number
    min_instances = number
    max_instances = number
  })
}

variable "timeout" {
  description = "The time for one request, as in 60s."
  type        = string
}

variable "ingress" {
  description = "The networks that requests may come from: a value of google_cloud_run_v2_service.ingress."
  type        = string
}

variable "public" {
  description = "Whether callers need no Google account."
  type        = bool
}

variable "health" {
  description = "The path that both probes request."
  type        = string
}

variable "settings" {
  description = "Environment variables; one that is null is left out."
  type        = map(string)
}

variable "secrets" {
  description = "Environment variables from secrets, by the secret's id."
  type        = map(string)
}

variable "network" {
  description = "The network and subnetwork of its instances, and the traffic that leaves through them."
  type        = object({ network = string, subnetwork = string, egress = string })
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete the service."
  type        = bool
}
