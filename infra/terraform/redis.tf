# Redis is an optional cache. Losing its content is harmless. Without Redis, every response is computed, and the rate
# limits apply to each instance separately.

variable "redis" {
  description = "The cache: memorystore or none."
  type        = string
  default     = "none"

  validation {
    condition     = contains(["memorystore", "none"], var.redis)
    error_message = "expected memorystore or none"
  }
}

locals {
  has_memorystore = var.redis == "memorystore"

  # The Redis setting, which is the same for all services that use Redis. A service or job with secrets must
  # list the secrets' grants and versions in `depends_on` (see secrets.tf).
  redis_secrets = {
    for name in ["REDIS_URL"] : name => google_secret_manager_secret.this["progress-redis-url"].secret_id
    if local.has_memorystore
  }

  # The instance has its own certificate authority (two during a rotation). The instance's certificate does not name the
  # host to which clients connect, so clients do not check the host name.
  redis_url = local.has_memorystore ? format("rediss://:%s@%s:%d/0?ssl_check_hostname=false&ssl_ca_data=%s",
    google_redis_instance.this[0].auth_string,
    google_redis_instance.this[0].host,
    google_redis_instance.this[0].port, # 6378 with TLS
    urlencode(join("\n", google_redis_instance.this[0].server_ca_certs[*].cert)),
  ) : null
}

resource "google_redis_instance" "this" {
  count = local.has_memorystore ? 1 : 0

  name                    = "progress"
  region                  = var.region
  tier                    = local.is_prod ? "STANDARD_HA" : "BASIC"
  memory_size_gb          = 1
  redis_version           = "REDIS_7_2"
  authorized_network      = google_compute_network.this[0].id
  connect_mode            = "PRIVATE_SERVICE_ACCESS"
  auth_enabled            = true
  transit_encryption_mode = "SERVER_AUTHENTICATION"

  redis_configs = {
    maxmemory-policy = "volatile-ttl"
  }

  maintenance_policy {
    weekly_maintenance_window {
      day = "SUNDAY"
      start_time {
        hours   = 3
        minutes = 0
        seconds = 0
        nanos   = 0
      }
    }
  }

  depends_on = [google_service_networking_connection.private_services]
}
