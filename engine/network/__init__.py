"""Bridges, endpoints, addresses, published ports."""
