variable "role_name" {
  description = "Name of the role, and the beginning of its policies' names"
  type        = string
  default     = "steerd"
}

variable "assume_role_policy" {
  description = "Who may assume the role, as JSON: the coordinators' own identities and nobody else"
  type        = string
}

variable "route53" {
  description = "Records steerd writes. `record` is the full name in lower case, without the last dot"
  type        = map(object({ hosted_zone = string, record = string }))
  default     = {}
}

variable "route53_arc" {
  description = "Clusters and the control panels whose routing controls steerd sets, by ARN"
  type        = map(object({ cluster = string, control_panel = string }))
  default     = {}
}

variable "aws_zonal_shift" {
  description = "Load balancers steerd shifts zones of, by ARN"
  type        = map(object({ resource = string }))
  default     = {}
}

variable "elbv2" {
  description = "Listener rules whose target groups steerd weighs, by ARN, with their listeners"
  type        = map(object({ listener = string, listener_rule = string }))
  default     = {}
}

variable "global_accelerator" {
  description = "Endpoint groups whose endpoints steerd weighs, by ARN, with their accelerators"
  type        = map(object({ accelerator = string, endpoint_group = string }))
  default     = {}
}

variable "check_rights" {
  description = "Let the role ask IAM what it may do itself: `steerd providers test` then names the rights that lack. Steering does not need it"
  type        = bool
  default     = false
}
