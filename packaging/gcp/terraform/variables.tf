variable "project" {
  description = "Id of the project"
  type        = string
}

variable "member" {
  description = "Who gets the roles: serviceAccount:EMAIL of the coordinators"
  type        = string
}

variable "managed_zones" {
  description = "Managed zones steerd writes records in (provider kind clouddns)"
  type        = set(string)
  default     = []
}

variable "backend_services" {
  description = "Names of the backend services steerd weighs (provider kind gcp-backend), global or regional; at most 12"
  type        = set(string)
  default     = []

  validation {
    condition     = length(var.backend_services) <= 12
    error_message = "A condition of IAM takes at most 12 logical operators, and each backend service is one: name 12 here, and bind the role steerdBackends again for the others."
  }
}
