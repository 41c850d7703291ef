"""Snapshots to bundle to parts, and parts to bundle to snapshots."""
