"""HTTP: gate, routing, bodies, listings."""
