"""The OTC desk trades."""
