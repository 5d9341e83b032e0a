# The network that connects the functions and jobs to the database and Redis. Instances use direct VPC egress, which is
# free. Traffic to the internet does not pass through the network, unless fixed_egress_address is set.

variable "fixed_egress_address" {
  # Set this for a Neon database with an IP allow list. Cloud NAT and the address cost about $40 a month, plus traffic.
  # A new instance reaches NAT only after about 30 s, so each function needs min_instances of at least 1, also at night.
  # (A Serverless VPC Access connector does not have this delay, but costs more than these minimum instances.)
  description = "Whether all calls to the internet come from one reserved address, which costs about $40 a month."
  type        = bool
  default     = false

  validation {
    condition     = !var.fixed_egress_address || alltrue([for size in values(var.functions) : size.min_instances >= 1])
    error_message = "expected min_instances >= 1: with a fixed address, a new instance has no network for 30 s"
  }

  validation {
    condition = !var.fixed_egress_address || alltrue([
      for count in values(try(var.night.min_instances, {})) : count >= 1
    ])
    error_message = "expected night.min_instances >= 1: with a fixed address, a new instance has no network for 30 s"
  }
}

locals {
  # Without anything to reach in the network, there is none: an instance starts sooner, and a destroy need not wait for
  # addresses.
  network_count = local.has_private_services || var.fixed_egress_address ? 1 : 0

  # The VPC access of every service and job. Each running instance uses addresses from the subnetwork.
  vpc_access = local.network_count == 0 ? null : {
    network    = google_compute_network.this[0].id
    subnetwork = google_compute_subnetwork.this[0].id
    egress     = var.fixed_egress_address ? "ALL_TRAFFIC" : "PRIVATE_RANGES_ONLY"
  }

  has_private_services = local.has_cloud_sql || local.has_memorystore
}

resource "google_compute_network" "this" {
  count = local.network_count

  name                    = "progress"
  auto_create_subnetworks = false

  depends_on = [google_project_service.api]
}

resource "google_compute_subnetwork" "this" {
  count = local.network_count

  name                     = "progress"
  network                  = google_compute_network.this[0].id
  region                   = var.region
  ip_cidr_range            = "10.8.0.0/20"
  private_ip_google_access = true
}

# Nothing in this network accepts connections.
resource "google_compute_firewall" "deny_ingress" {
  count = local.network_count

  name          = "progress-deny-ingress"
  network       = google_compute_network.this[0].id
  direction     = "INGRESS"
  priority      = 1000
  source_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }
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
  network = google_compute_network.this[0].id
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
    name                    = google_compute_subnetwork.this[0].id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }

  log_config {
    enable = true
    filter = "ERRORS_ONLY" # logs connections that fail because NAT has no free port
  }
}

output "egress_address" {
  description = "The address for Neon's IP allow list; null without fixed_egress_address."
  value       = one(google_compute_address.egress[*].address)
}
