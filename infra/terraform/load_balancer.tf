# The load balancer in front of the query function, if `domain` is set: one address, TLS 1.3, Cloud Armor. The service
# then accepts requests from the load balancer only.

variable "domain" {
  description = "The API's domain, which has the records of the output domain_records; null: the service's own URL."
  type        = string
  default     = null

  validation {
    condition     = var.domain != null || !local.is_prod
    error_message = "expected a domain in prod"
  }
}

variable "smoke_key" {
  # Pass the key as TF_VAR_smoke_key. The release reads the same key from the environment variable SMOKE_KEY. If
  # smoke_key is null, the load balancer does not route to green.
  description = "Requests with this key in the header x-progress-revision are routed to green, the new revision."
  type        = string
  default     = null
  sensitive   = true

  validation {
    condition     = var.smoke_key == null || can(regex("^[0-9A-Za-z_-]{32,128}$", var.smoke_key))
    error_message = "expected 32 to 128 letters, digits, underscores or hyphens; `openssl rand -hex 32` creates a key"
  }
}

locals {
  has_load_balancer   = var.domain != null
  load_balancer_count = local.has_load_balancer ? 1 : 0
  certificate_name    = "progress-${substr(sha256(coalesce(var.domain, "none")), 0, 8)}"

  # The tag of the revision behind each backend. `live` is the serving revision, which needs no tag. `green` is the new
  # revision during a release.
  backend_revisions = local.has_load_balancer ? { live = null, green = "green" } : {}
}

resource "google_compute_global_address" "load_balancer" {
  count = local.load_balancer_count

  name = "progress-load-balancer"

  depends_on = [google_project_service.api]
}

output "domain_records" {
  description = "The domain's DNS records: its address, and the proof with which Google issues the certificate."
  value = concat(
    [for address in google_compute_global_address.load_balancer[*].address : "${var.domain}. A ${address}"],
    [
      for record in flatten(google_certificate_manager_dns_authorization.load_balancer[*].dns_resource_record) :
      "${record.name} ${record.type} ${record.data}"
    ],
  )
}

# Google issues the certificate before the domain's A record names the load balancer, so that a domain can move.
resource "google_certificate_manager_dns_authorization" "load_balancer" {
  count = local.load_balancer_count

  name   = local.certificate_name
  domain = var.domain

  depends_on = [google_project_service.api]
}

resource "google_certificate_manager_certificate" "load_balancer" {
  count = local.load_balancer_count

  name = local.certificate_name

  managed {
    domains            = [var.domain]
    dns_authorizations = [google_certificate_manager_dns_authorization.load_balancer[0].id]
  }

  lifecycle { create_before_destroy = true }
}

resource "google_certificate_manager_certificate_map" "load_balancer" {
  count = local.load_balancer_count

  name = "progress"

  depends_on = [google_project_service.api]
}

resource "google_certificate_manager_certificate_map_entry" "load_balancer" {
  count = local.load_balancer_count

  name         = "progress"
  map          = google_certificate_manager_certificate_map.load_balancer[0].name
  matcher      = "PRIMARY"
  certificates = [google_certificate_manager_certificate.load_balancer[0].id]
}

resource "google_compute_ssl_policy" "load_balancer" {
  count = local.load_balancer_count

  name            = "progress"
  profile         = "RESTRICTED" # the only profile that allows a minimum of TLS 1.3
  min_tls_version = "TLS_1_3"

  depends_on = [google_project_service.api]
}

resource "google_compute_region_network_endpoint_group" "load_balancer" {
  for_each = local.backend_revisions

  name                  = "progress-query-${each.key}"
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = google_cloud_run_v2_service.function["query"].name
    tag     = each.value
  }
}

# A serverless backend has no timeout of its own. The query service's timeout ends long event streams. Caching and
# compression are off, because both would delay a stream.
resource "google_compute_backend_service" "load_balancer" {
  for_each = local.backend_revisions

  name                  = "progress-query-${each.key}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.load_balancer[0].id
  enable_cdn            = false
  compression_mode      = "DISABLED"

  # The header x-progress-revision marks green's responses. If the release sends a wrong key, its requests reach the
  # serving revision. The release notices this, because the responses lack the header.
  custom_response_headers = concat(
    ["Strict-Transport-Security: max-age=31536000; includeSubDomains"],
    each.value == null ? [] : ["x-progress-revision: ${each.value}"],
  )

  backend { group = google_compute_region_network_endpoint_group.load_balancer[each.key].id }

  log_config {
    enable      = true
    sample_rate = 0.1
  }
}

resource "google_compute_url_map" "load_balancer" {
  count = local.load_balancer_count

  name            = "progress"
  default_service = google_compute_backend_service.load_balancer["live"].id

  host_rule {
    hosts        = ["*"]
    path_matcher = "revisions"
  }

  path_matcher {
    name            = "revisions"
    default_service = google_compute_backend_service.load_balancer["live"].id

    # Only a request with the key reaches green. Otherwise, strangers could send requests to the untested revision, and
    # the errors that they cause would fail the release.
    dynamic "route_rules" {
      for_each = nonsensitive(var.smoke_key != null) ? ["green"] : []

      content {
        priority = 1
        service  = google_compute_backend_service.load_balancer[route_rules.value].id

        match_rules {
          prefix_match = "/"

          header_matches {
            header_name = "x-progress-revision"
            exact_match = var.smoke_key
          }
        }
      }
    }
  }
}

resource "google_compute_target_https_proxy" "load_balancer" {
  count = local.load_balancer_count

  name    = "progress"
  url_map = google_compute_url_map.load_balancer[0].id
  certificate_map = join("/", [
    "//certificatemanager.googleapis.com", google_certificate_manager_certificate_map.load_balancer[0].id,
  ])
  ssl_policy = google_compute_ssl_policy.load_balancer[0].id
}

resource "google_compute_url_map" "redirect" {
  count = local.load_balancer_count

  name = "progress-to-https"

  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "MOVED_PERMANENTLY_DEFAULT"
    strip_query            = false
  }

  depends_on = [google_project_service.api]
}

resource "google_compute_target_http_proxy" "redirect" {
  count = local.load_balancer_count

  name    = "progress-to-https"
  url_map = google_compute_url_map.redirect[0].id
}

resource "google_compute_global_forwarding_rule" "load_balancer" {
  for_each = local.has_load_balancer ? {
    https = { port = "443", target = google_compute_target_https_proxy.load_balancer[0].id }
    http  = { port = "80", target = google_compute_target_http_proxy.redirect[0].id }
  } : {}

  name                  = "progress-${each.key}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.load_balancer[0].id
  port_range            = each.value.port
  target                = each.value.target
}
