# The network that connects the functions and jobs to the database and Redis. Instances use direct VPC egress, which is
# free. Traffic to the internet does not pass through the network.

locals {
  # Without anything to reach in the network, there is none: an instance starts sooner, and a destroy need not wait for
  # addresses.
  has_private_services = local.has_cloud_sql || local.has_memorystore

  # The VPC access of every service and job. Each running instance uses addresses from the subnetwork.
  vpc_access = !local.has_private_services ? null : {
    network    = google_compute_network.this[0].id
    subnetwork = google_compute_subnetwork.this[0].id
    egress     = "PRIVATE_RANGES_ONLY"
  }
}

resource "google_compute_network" "this" {
  count = local.has_private_services ? 1 : 0

  name                    = "progress"
  auto_create_subnetworks = false

  depends_on = [google_project_service.api]
}

resource "google_compute_subnetwork" "this" {
  count = local.has_private_services ? 1 : 0

  name                     = "progress"
  network                  = google_compute_network.this[0].id
  region                   = var.region
  ip_cidr_range            = "10.8.0.0/20"
  private_ip_google_access = true
}

# Nothing in this network accepts connections.
resource "google_compute_firewall" "deny_ingress" {
  count = local.has_private_services ? 1 : 0

  name          = "progress-deny-ingress"
  network       = google_compute_network.this[0].id
  direction     = "INGRESS"
  priority      = 1000
  source_ranges = ["0.0.0.0/0"]

  deny { protocol = "all" }
}

# Cloud SQL and Memorystore are in a Google network that is peered with this one.
resource "google_compute_global_address" "private_services" {
  count = local.has_private_services ? 1 : 0

  name          = "progress-private-services"
  network       = google_compute_network.this[0].id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  address       = "10.16.0.0"
  prefix_length = 16
}

resource "google_service_networking_connection" "private_services" {
  count = local.has_private_services ? 1 : 0

  network                 = google_compute_network.this[0].id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.private_services[0].name]
  deletion_policy         = "ABANDON" # Google refuses to delete the peering for days after an instance's deletion

  update_on_creation_fail = true # after a destroy, the peering is still there

  depends_on = [google_project_service.api]
}
