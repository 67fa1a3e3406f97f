"""The parts of bench/relay.py: the load generator (C), the relays, and the machine's figures."""
