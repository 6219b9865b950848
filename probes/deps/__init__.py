"""Looks at what models depend on: databases, queues, object stores, GPUs. One file per kind (probes.md, "Dependencies")."""
