"""Risk decides."""
