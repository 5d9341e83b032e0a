variable "name" {
  description = "The job's name."
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
  description = "The image that the job is made with. Releases bring later ones."
  type        = string
}

variable "command" {
  description = "The program, and the arguments that no execution overrides."
  type        = list(string)
}

variable "args" {
  description = "The arguments of an execution that gives none."
  type        = list(string)
}

variable "cpu" {
  description = "The CPUs of a task."
  type        = string
}

variable "memory" {
  description = "The memory of a task."
  type        = string
}

variable "tasks" {
  description = "The tasks of an execution, all at once."
  type        = number
}

variable "timeout" {
  description = "The time for one try of a task, as in 60s."
  type        = string
}

variable "retries" {
  description = "How often a task that failed is tried again."
  type        = number
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
  description = "The network and subnetwork of its tasks, and the traffic that leaves through them."
  type        = object({ network = string, subnetwork = string, egress = string })
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete the job."
  type        = bool
}
