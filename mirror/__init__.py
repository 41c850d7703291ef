"""Outside: upstream to snapshot."""
