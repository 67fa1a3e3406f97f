"""Faults of the upstream, of visitors, of the database and of replicas, played against real service processes."""
