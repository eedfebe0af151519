"""Adapters: small parts that train in, behind or beside an encoder whose own weights are frozen."""
