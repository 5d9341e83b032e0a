# Cloud Armor: the firewall rules of the load balancer.

locals {
  # Preconfigured rules, at the sensitivity with the fewest false positives. Cloud Armor parses bodies as GraphQL. The
  # rules that match text check neither the bearer token nor the GraphQL document. The token is random text, which can
  # look like an attack. The document's braces, quotes and comments look like attacks. The query function itself limits
  # documents. Nor is what learners post checked, whose words are anybody's: the function parses it, and publishes
  # nothing of its bytes.
  waf_text_rules  = ["sqli", "xss", "lfi", "rfi", "rce", "generic", "protocolattack"]
  waf_other_rules = ["methodenforcement", "scannerdetection", "sessionfixation", "cve-canary"]
  waf_rule_sets = {
    for index, rule in concat(local.waf_text_rules, local.waf_other_rules) : 1000 + 10 * index => {
      name = rule == "cve-canary" ? rule : "${rule}-v422-stable", matches_text = contains(local.waf_text_rules, rule)
    }
  }

  # Each key is the priority of a rule. Its value is the header whose length this rule limits.
  limited_headers = { 110 = "authorization", 111 = "cookie", 112 = "last-event-id" }
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
    description = "Deny a path or query that is longer than any legitimate one."
    priority    = 100
    action      = "deny(403)"
    match {
      expr { expression = "size(request.path) > 1024 || size(request.query) > 16384" }
    }
  }

  dynamic "rule" {
    for_each = local.limited_headers

    content {
      description = "Deny a header that is longer than any legitimate one."
      priority    = rule.key
      action      = "deny(403)"
      match {
        expr {
          expression = join(" && ", [
            "has(request.headers['${rule.value}'])", "size(request.headers['${rule.value}']) > 8192",
          ])
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
          expression = join(" && ", [
            "request.path != '/events'",
            rule.value.name == "cve-canary"
            ? "evaluatePreconfiguredWaf('cve-canary')"
            : "evaluatePreconfiguredWaf('${rule.value.name}', {'sensitivity': 1})",
          ])
        }
      }

      dynamic "preconfigured_waf_config" {
        for_each = rule.value.matches_text ? [rule.value.name] : []

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
    description = "Limit the requests of each IP address."
    priority    = 2000
    action      = "throttle"
    match {
      versioned_expr = "SRC_IPS_V1"
      config { src_ip_ranges = ["*"] }
    }
    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      enforce_on_key = "IP"
      rate_limit_threshold {
        count        = 3000 # a whole school may share one address; RATE_LIMIT_PER_MINUTE limits each caller
        interval_sec = 60
      }
    }
  }

  rule {
    description = "Allow everything else."
    priority    = 2147483647
    action      = "allow"
    match {
      versioned_expr = "SRC_IPS_V1"
      config { src_ip_ranges = ["*"] }
    }
  }

  depends_on = [google_project_service.api]
}
