# In front of the query function, in prod: one address, TLS 1.3, Cloud Armor. Its service takes nothing from elsewhere.

variable "domain" {
  description = "The name that learners' apps call, in prod; its A record is to point at the output load_balancer_address, upon which the certificate is made."
  type        = string
  default     = null

  validation {
    condition     = (var.domain != null) == (var.environment == "prod")
    error_message = "prod has a domain; dev and staging are called at their service's own address"
  }
}

variable "smoke_key" {
  description = "What leads a request to the revision that a release tries out, in its header x-progress-revision (TF_VAR_smoke_key); the release is told the same as SMOKE_KEY. Without it nothing does."
  type        = string
  default     = null
  sensitive   = true

  validation {
    condition     = var.smoke_key == null || can(regex("^[0-9A-Za-z_-]{32,128}$", var.smoke_key))
    error_message = "expected 32 to 128 letters and digits, as `openssl rand -hex 32` makes them"
  }
}

variable "requests_per_minute_by_ip" {
  description = "What one address may ask in a minute; a school is one address. Each caller's own limit is RATE_LIMIT_PER_MINUTE."
  type        = number
  default     = 3000
}

locals {
  load_balancer_count = local.is_prod ? 1 : 0

  # Revisions of the query function: the one that traffic goes to, and the one that a release tries out under the tag green.
  backend_revisions = local.is_prod ? { live = null, green = "green" } : {}

  # Preconfigured rules at their surest level, by priority. Cloud Armor reads bodies as GraphQL. Of those that look into texts (true) the
  # document itself is passed by, since braces, quotes and comments are its language, and our own parser bounds it; and tokens, random letters.
  waf_rule_sets = {
    1000 = { name = "sqli-v33-stable", of_texts = true }
    1010 = { name = "xss-v33-stable", of_texts = true }
    1020 = { name = "lfi-v33-stable", of_texts = true }
    1030 = { name = "rfi-v33-stable", of_texts = true }
    1040 = { name = "rce-v33-stable", of_texts = true }
    1050 = { name = "nodejs-v33-stable", of_texts = true }
    1060 = { name = "protocolattack-v33-stable", of_texts = true }
    1070 = { name = "methodenforcement-v33-stable", of_texts = false }
    1080 = { name = "scannerdetection-v33-stable", of_texts = false }
    1090 = { name = "sessionfixation-v33-stable", of_texts = false }
    1100 = { name = "cve-canary", of_texts = false }
  }

  # Headers that a caller fills, by priority: functions-framework bounds none.
  bounded_headers = { 110 = "authorization", 111 = "cookie", 112 = "last-event-id" }
}

resource "google_compute_global_address" "load_balancer" {
  count = local.load_balancer_count

  name = "progress-load-balancer"

  depends_on = [google_project_service.api]
}

output "load_balancer_address" {
  description = "What the domain's A record is to say; null outside prod."
  value       = one(google_compute_global_address.load_balancer[*].address)
}

resource "google_compute_managed_ssl_certificate" "load_balancer" {
  count = local.load_balancer_count

  name = "progress-${substr(sha256(var.domain), 0, 8)}"

  managed {
    domains = [var.domain]
  }

  lifecycle {
    create_before_destroy = true
  }

  depends_on = [google_project_service.api]
}

resource "google_compute_ssl_policy" "load_balancer" {
  count = local.load_balancer_count

  name            = "progress"
  profile         = "RESTRICTED" # the only one that a minimum of 1.3 goes with
  min_tls_version = "TLS_1_3"

  depends_on = [google_project_service.api]
}

resource "google_compute_region_network_endpoint_group" "load_balancer" {
  for_each = local.backend_revisions

  name                  = "progress-query-${each.key}"
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = module.function["query"].name
    tag     = each.value
  }
}

# No timeout is set: a serverless backend has none but its service's own, so that event streams live as long as that lets them.
# Nothing is cached or compressed on the way: both would hold a stream back.
resource "google_compute_backend_service" "load_balancer" {
  for_each = local.backend_revisions

  name                  = "progress-query-${each.key}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.load_balancer[0].id
  enable_cdn            = false
  compression_mode      = "DISABLED"

  # Green says who it is: a release that has the wrong key would else take what serves for it.
  custom_response_headers = concat(
    ["Strict-Transport-Security: max-age=31536000; includeSubDomains"],
    each.value == null ? [] : ["x-progress-revision: ${each.value}"],
  )

  backend {
    group = google_compute_region_network_endpoint_group.load_balancer[each.key].id
  }

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

    # For who knows the key alone: strangers would try out what nobody has watched yet, and by their errors stop a release.
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

  name             = "progress"
  url_map          = google_compute_url_map.load_balancer[0].id
  ssl_certificates = [google_compute_managed_ssl_certificate.load_balancer[0].id]
  ssl_policy       = google_compute_ssl_policy.load_balancer[0].id
}

resource "google_compute_global_forwarding_rule" "load_balancer" {
  count = local.load_balancer_count

  name                  = "progress-https"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.load_balancer[0].id
  port_range            = "443"
  target                = google_compute_target_https_proxy.load_balancer[0].id
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

resource "google_compute_global_forwarding_rule" "redirect" {
  count = local.load_balancer_count

  name                  = "progress-http"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.load_balancer[0].id
  port_range            = "80"
  target                = google_compute_target_http_proxy.redirect[0].id
}

resource "google_compute_security_policy" "load_balancer" {
  count = local.load_balancer_count

  name = "progress"
  type = "CLOUD_ARMOR"

  advanced_options_config {
    json_parsing = "STANDARD_WITH_GRAPHQL"
    log_level    = "NORMAL"
  }

  rule {
    description = "A path or query of a length that no request of ours has."
    priority    = 100
    action      = "deny(403)"
    match {
      expr {
        expression = "size(request.path) > 1024 || size(request.query) > 16384"
      }
    }
  }

  dynamic "rule" {
    for_each = local.bounded_headers

    content {
      description = "A header of such a length, likewise."
      priority    = rule.key
      action      = "deny(403)"
      match {
        expr {
          expression = "has(request.headers['${rule.value}']) && size(request.headers['${rule.value}']) > 8192"
        }
      }
    }
  }

  dynamic "rule" {
    for_each = local.waf_rule_sets

    content {
      description = rule.value.name
      priority    = rule.key
      action      = "deny(403)"
      match {
        expr {
          expression = rule.value.name == "cve-canary" ? "evaluatePreconfiguredWaf('cve-canary')" : "evaluatePreconfiguredWaf('${rule.value.name}', {'sensitivity': 1})"
        }
      }

      dynamic "preconfigured_waf_config" {
        for_each = rule.value.of_texts ? [rule.value.name] : []

        content {
          exclusion {
            target_rule_set = preconfigured_waf_config.value
            request_query_param {
              operator = "EQUALS"
              value    = "query"
            }
            request_header {
              operator = "EQUALS"
              value    = "authorization"
            }
          }
        }
      }
    }
  }

  rule {
    description = "What one address may ask."
    priority    = 2000
    action      = "throttle"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      enforce_on_key = "IP"
      rate_limit_threshold {
        count        = var.requests_per_minute_by_ip
        interval_sec = 60
      }
    }
  }

  rule {
    description = "All else may pass."
    priority    = 2147483647
    action      = "allow"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
  }

  depends_on = [google_project_service.api]
}
