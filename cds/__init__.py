"""Carriers: move opaque parts one way and know nothing of what is inside them."""
