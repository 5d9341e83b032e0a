# Apply an environment to an empty project, plan again, and destroy it (see README.md). This makes real resources.

run "apply" {
  command = apply

  assert {
    condition     = alltrue([for url in values(output.urls) : startswith(url, "https://")])
    error_message = "expected an https address of each service, found ${jsonencode(output.urls)}"
  }
}

run "plan_again" {
  command = plan

  # If the plan replaced a service, its address would be unknown, and the comparison an error.
  assert {
    condition     = output.urls == run.apply.urls
    error_message = "expected a second plan that keeps ${jsonencode(run.apply.urls)}, found ${jsonencode(output.urls)}"
  }
}
