"""Container images from registries, OCI layouts and archives."""
