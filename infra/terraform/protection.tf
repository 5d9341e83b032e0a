# Makes every plan that would destroy prod fail. Without this resource, `terraform destroy` would delete the topics,
# subscriptions, Redis and alerts before it fails at the first resource that Google protects against deletion.
resource "terraform_data" "protection" {
  count = local.is_prod ? 1 : 0

  lifecycle {
    prevent_destroy = true # Terraform accepts no expression here
  }
}
