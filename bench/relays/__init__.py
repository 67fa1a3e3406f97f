"""What bench/relay.py compares, and with what: the load (C), the relays, and the machine's figures."""
