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
  description = "The networks from which requests are accepted: a value of google_cloud_run_v2_service.ingress."
  type        = string
}

variable "public" {
  description = "Whether the service accepts callers without a Google account."
  type        = bool
}

variable "health" {
  description = "The path that the liveness probe requests."
  type        = string
}
