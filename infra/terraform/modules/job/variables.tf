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
  description = "The image that the job is created with; releases set later ones."
  type        = string
}

variable "command" {
  description = "The program, with the arguments that no execution overrides."
  type        = list(string)
}

variable "args" {
  description = "The default arguments of an execution."
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
  description = "The number of tasks of an execution, run in parallel."
  type        = number
}

variable "timeout" {
  description = "The timeout of one attempt of a task, such as 60s."
  type        = string
}

variable "retries" {
  description = "The number of retries of a failed task."
  type        = number
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
  description = "The network and subnetwork of the tasks, and the traffic to route through them."
  type        = object({ network = string, subnetwork = string, egress = string })
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete the job."
  type        = bool
}
