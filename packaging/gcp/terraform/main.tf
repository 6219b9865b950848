# The rights steerd needs in a Google Cloud project: one custom role per provider kind, granted on what it steers.
# The permissions are the files beside this module, so that what is reviewed there is what is granted here.

terraform {
  required_version = ">= 1.3"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 5.0"
    }
  }
}

locals {
  clouddns    = yamldecode(file("${path.module}/../steerd-clouddns.yaml"))
  gcp_backend = yamldecode(file("${path.module}/../steerd-gcp-backend.yaml"))
}

resource "google_project_iam_custom_role" "clouddns" {
  count = length(var.managed_zones) == 0 ? 0 : 1

  project     = var.project
  role_id     = "steerdCloudDns"
  title       = local.clouddns.title
  description = local.clouddns.description
  stage       = local.clouddns.stage
  permissions = local.clouddns.includedPermissions
}

resource "google_dns_managed_zone_iam_member" "clouddns" {
  for_each = var.managed_zones

  project      = var.project
  managed_zone = each.value
  role         = google_project_iam_custom_role.clouddns[0].id
  member       = var.member
}

resource "google_project_iam_custom_role" "gcp_backend" {
  count = length(var.backend_services) == 0 ? 0 : 1

  project     = var.project
  role_id     = "steerdBackends"
  title       = local.gcp_backend.title
  description = local.gcp_backend.description
  stage       = local.gcp_backend.stage
  permissions = local.gcp_backend.includedPermissions
}

resource "google_project_iam_member" "gcp_backend" {
  count = length(var.backend_services) == 0 ? 0 : 1

  project = var.project
  role    = google_project_iam_custom_role.gcp_backend[0].id
  member  = var.member

  # Of backend services only those named. What has no such part in its name (groups, operations) gives "" here.
  condition {
    title = "backend services of steerd"
    expression = join(" || ", [
      for name in concat([""], sort(tolist(var.backend_services))) :
      "resource.name.extract(\"/backendServices/{name}\") == \"${name}\""
    ])
  }
}
