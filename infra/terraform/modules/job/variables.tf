variable "command" {
  description = "The program and its fixed arguments, which are the same in every execution."
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
  description = "The number of tasks of an execution; all run in parallel."
  type        = number
}

variable "timeout" {
  description = "The timeout of one attempt of a task, such as 60s."
  type        = string
}

variable "retries" {
  description = "The maximum number of retries of a failed task."
  type        = number
}
