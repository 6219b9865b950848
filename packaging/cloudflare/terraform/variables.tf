variable "name" {
  description = "Name of the token"
  type        = string
  default     = "steerd"
}

variable "zone_id" {
  description = "Zone of the load balancers: `zone_id` of steerd's provider"
  type        = string
}

variable "account_id" {
  description = "Account of the pools: `account_id` of steerd's provider"
  type        = string
}

variable "pools" {
  description = "Write: steerd enables pools that come in, and disables them where a route says `disable_pools`. Read: it never does"
  type        = string
  default     = "Write"

  validation {
    condition     = contains(["Read", "Write"], var.pools)
    error_message = "It is Read or Write."
  }
}

variable "allowed_ips" {
  description = "CIDR blocks the token may be used from: the coordinators'. Empty: from anywhere"
  type        = list(string)
  default     = []
}
