variable "name" {
  description = "The name of the service."
  type        = string
}

variable "container" {
  description = "What the service runs, where, and as which account."
  type = object({
    region              = string
    account             = string      # the e-mail address of a service account
    image               = string      # the image that the service is created with; releases set later images
    settings            = map(string) # environment variables; a null value is left out
    secrets             = map(string) # environment variables from secrets: each variable's name, its secret's id
    network             = object({ network = string, subnetwork = string, egress = string })
    deletion_protection = bool # whether Terraform refuses to delete the service
  })
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

variable "requests" {
  description = "How the service handles requests."
  type = object({
    timeout = string # of a request, such as 60s
    ingress = string # the networks of the callers: a value of google_cloud_run_v2_service.ingress
    public  = bool   # whether callers without a Google account are accepted
    health  = string # the path that the liveness probe requests
  })
}
