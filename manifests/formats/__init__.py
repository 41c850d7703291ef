"""One file per format; no sockets, no store writes."""
