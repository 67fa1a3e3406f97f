"""Fault injection against real service processes: faults of the upstream, visitors, the database and replicas."""
