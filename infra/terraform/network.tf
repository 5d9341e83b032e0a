# The network that the functions and jobs reach the database and Redis by. Each of their instances has a leg in it
# (direct VPC egress, which costs nothing); what is on the internet they reach without it, unless a fixed address is asked for.

variable "fixed_egress_address" {
  description = "Whether calls to the internet leave from one reserved address, for a Neon that admits listed addresses only. It costs some $40 a month (Cloud NAT, the address) and traffic. All calls go through NAT then, which a fresh instance reaches after some 30 s: each function keeps one instance ready at least, by night too. (A Serverless VPC Access connector would have no such wait; it costs more than the instances.)"
  type        = bool
  default     = false

  validation {
    condition     = !var.fixed_egress_address || alltrue([for size in values(var.functions) : size.min_instances >= 1])
    error_message = "with a fixed address a cold start is without network for 30 s: expected min_instances >= 1 for each of functions"
  }

  validation {
    condition     = !var.fixed_egress_address || alltrue([for count in values(try(var.night.min_instances, {})) : count >= 1])
    error_message = "with a fixed address a cold start is without network for 30 s: expected min_instances >= 1 for each of night.min_instances"
  }
}

locals {
  # For vpc_access of every service and job. An instance takes addresses of the subnetwork while it lives.
  vpc_access = {
    network    = google_compute_network.this.id
    subnetwork = google_compute_subnetwork.this.id
    egress     = var.fixed_egress_address ? "ALL_TRAFFIC" : "PRIVATE_RANGES_ONLY"
  }

  has_private_services = local.has_cloud_sql || local.has_memorystore
}

resource "google_compute_network" "this" {
  name                    = "progress"
  auto_create_subnetworks = false

  depends_on = [google_project_service.api]
}

resource "google_compute_subnetwork" "this" {
  name                     = "progress"
  network                  = google_compute_network.this.id
  region                   = var.region
  ip_cidr_range            = "10.8.0.0/20"
  private_ip_google_access = true
}

# Nobody in this network listens.
resource "google_compute_firewall" "nothing_comes_in" {
  name          = "progress-nothing-comes-in"
  network       = google_compute_network.this.id
  direction     = "INGRESS"
  priority      = 1000
  source_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }
}

# Cloud SQL and Memorystore live in a network of Google's, which is peered with ours.
resource "google_compute_global_address" "private_services" {
  count = local.has_private_services ? 1 : 0

  name          = "progress-private-services"
  network       = google_compute_network.this.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  address       = "10.16.0.0"
  prefix_length = 16
}

resource "google_service_networking_connection" "private_services" {
  count = local.has_private_services ? 1 : 0

  network                 = google_compute_network.this.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.private_services[0].name]
  deletion_policy         = "ABANDON" # a deleted instance holds on to the peering for days

  depends_on = [google_project_service.api]
}

resource "google_compute_address" "egress" {
  count = var.fixed_egress_address ? 1 : 0

  name   = "progress-egress"
  region = var.region

  depends_on = [google_project_service.api]
}

resource "google_compute_router" "egress" {
  count = var.fixed_egress_address ? 1 : 0

  name    = "progress-egress"
  network = google_compute_network.this.id
  region  = var.region
}

resource "google_compute_router_nat" "egress" {
  count = var.fixed_egress_address ? 1 : 0

  name                               = "progress-egress"
  router                             = google_compute_router.egress[0].name
  region                             = var.region
  nat_ip_allocate_option             = "MANUAL_ONLY"
  nat_ips                            = [google_compute_address.egress[0].self_link]
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"

  subnetwork {
    name                    = google_compute_subnetwork.this.id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }

  log_config {
    enable = true
    filter = "ERRORS_ONLY" # a port that was not to be had is a connection that failed
  }
}

output "egress_address" {
  description = "The address to list in Neon's IP allow; null where none is reserved."
  value       = one(google_compute_address.egress[*].address)
}
