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
  description = "Names of the backend services steerd weighs (provider kind gcp-backend), global or regional"
  type        = set(string)
  default     = []
}
