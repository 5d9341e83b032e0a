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
  description = "The image that the service is created with; releases set later ones."
  type        = string
}

variable "size" {
  description = "The CPUs, memory and concurrency of an instance, and the number of instances."
  type = object({
    cpu           = string
    memory        = string
    concurrency   = number
    min_instances = number
    max_instances = number
  })
}

variable "timeout" {
  description = "The timeout of a request, such as 60s."
  type        = string
}

variable "ingress" {
  description = "The allowed origin of requests: a value of google_cloud_run_v2_service.ingress."
  type        = string
}

variable "public" {
  description = "Whether callers may be unauthenticated by Google."
  type        = bool
}

variable "health" {
  description = "The path that both probes request."
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
  description = "The network and subnetwork of the instances, and the traffic to route through them."
  type        = object({ network = string, subnetwork = string, egress = string })
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete the service."
  type        = bool
}
