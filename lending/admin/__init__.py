"""The staff's door: every page by role, every row by client, and nothing about the past that can be changed."""

from lending.admin import bank, books, breaks, clients, closing, control, custody, loans, papers, sanctions

__all__ = ["bank", "books", "breaks", "clients", "closing", "control", "custody", "loans", "papers", "sanctions"]
