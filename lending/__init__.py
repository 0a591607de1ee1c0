"""Lending keeps the books."""
