variable "name" {
  description = "The name of the job."
  type        = string
}

variable "container" {
  description = "What the job runs, where, and as which account."
  type = object({
    region              = string
    account             = string      # the e-mail address of a service account
    image               = string      # the image that the job is created with; releases set later images
    settings            = map(string) # environment variables; a null value is left out
    secrets             = map(string) # environment variables from secrets: each variable's name, its secret's id
    network             = object({ network = string, subnetwork = string, egress = string })
    deletion_protection = bool # whether Terraform refuses to delete the job
  })
}

variable "job" {
  description = "The program, and the size and number of its tasks."
  type = object({
    command = list(string) # the program and its fixed arguments, which are the same in every execution
    args    = list(string) # the default arguments of an execution
    cpu     = string
    memory  = string
    tasks   = number # of an execution; all run in parallel
    timeout = string # of one attempt of a task, such as 60s
    retries = number # of a failed task, at most
  })
}
