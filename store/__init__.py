"""Keeps things: blobs, ledger, and one seam for every durable write."""
