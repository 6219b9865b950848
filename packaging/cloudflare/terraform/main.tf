# The token steerd needs for Cloudflare load balancers: two permission groups, on one zone and one account.

terraform {
  required_version = ">= 1.3"
  required_providers {
    cloudflare = {
      source  = "cloudflare/cloudflare"
      version = ">= 5.13" # `resources` of a policy is JSON from there on
    }
  }
}

data "cloudflare_api_token_permission_groups_list" "all" {}

locals {
  zone_groups    = ["Load Balancers Write"]
  account_groups = ["Load Balancing: Monitors and Pools ${var.pools}"]

  # A name may stand for a group of zones and another one of accounts.
  found = {
    for scope in ["com.cloudflare.api.account.zone", "com.cloudflare.api.account"] : scope => {
      for group in data.cloudflare_api_token_permission_groups_list.all.result : group.name => group.id...
      if contains(group.scopes, scope)
    }
  }
}

resource "cloudflare_api_token" "steerd" {
  name = var.name

  policies = [
    {
      effect            = "allow"
      permission_groups = [for name in local.zone_groups : { id = one(local.found["com.cloudflare.api.account.zone"][name]) }]
      resources         = jsonencode({ "com.cloudflare.api.account.zone.${var.zone_id}" = "*" })
    },
    {
      effect            = "allow"
      permission_groups = [for name in local.account_groups : { id = one(local.found["com.cloudflare.api.account"][name]) }]
      resources         = jsonencode({ "com.cloudflare.api.account.${var.account_id}" = "*" })
    },
  ]

  condition = length(var.allowed_ips) == 0 ? null : { request_ip = { in = var.allowed_ips } }
}

output "token" {
  description = "For `token` of steerd's provider, by way of a file or the environment"
  value       = cloudflare_api_token.steerd.value
  sensitive   = true
}
