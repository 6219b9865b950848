# The rights steerd needs in an AWS account, one policy per thing it steers, attached to one role.
# The policies are the files beside this module, so that what is reviewed there is what is granted here.

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

locals {
  policies = "${path.module}/../policies"

  documents = merge(
    {
      for name, of in var.route53 : "route53-${name}" => templatefile("${local.policies}/route53.json", {
        hosted_zone = of.hosted_zone
        record      = of.record
      })
    },
    {
      for name, of in var.route53_arc : "route53-arc-${name}" => templatefile("${local.policies}/route53-arc.json", {
        cluster       = of.cluster
        control_panel = of.control_panel
      })
    },
    {
      for name, of in var.aws_zonal_shift : "aws-zonal-shift-${name}" => templatefile("${local.policies}/aws-zonal-shift.json", {
        resource = of.resource
      })
    },
    {
      for name, of in var.elbv2 : "elbv2-${name}" => templatefile("${local.policies}/elbv2.json", {
        listener      = of.listener
        listener_rule = of.listener_rule
      })
    },
    {
      for name, of in var.global_accelerator : "global-accelerator-${name}" => templatefile("${local.policies}/global-accelerator.json", {
        accelerator    = of.accelerator
        endpoint_group = of.endpoint_group
      })
    },
    {
      for name in var.check_rights ? ["check-rights"] : [] : name => templatefile("${path.module}/../optional/check-rights.json", {
        role = aws_iam_role.steerd.arn
      })
    },
  )
}

resource "aws_iam_role" "steerd" {
  name                 = var.role_name
  description          = "What steerd may write in this account"
  assume_role_policy   = var.assume_role_policy
  max_session_duration = 3600
}

resource "aws_iam_policy" "steerd" {
  for_each = local.documents

  name   = "${var.role_name}-${each.key}"
  policy = each.value
}

resource "aws_iam_role_policy_attachment" "steerd" {
  for_each = aws_iam_policy.steerd

  role       = aws_iam_role.steerd.name
  policy_arn = each.value.arn
}

output "role_arn" {
  description = "For `role` of steerd's AWS providers"
  value       = aws_iam_role.steerd.arn
}
