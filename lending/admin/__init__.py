"""The staff's door: every page by role, every row by client, and nothing about the past that can be changed."""

from lending.admin import (
    address_keys,
    bank,
    books,
    breaks,
    client_papers,
    clients,
    closing,
    control,
    custody,
    loans,
    onboarding,
    papers,
    pipeline,
    products,
    sanctions,
    screening,
)

__all__ = [
    "address_keys",
    "bank",
    "books",
    "breaks",
    "client_papers",
    "clients",
    "closing",
    "control",
    "custody",
    "loans",
    "onboarding",
    "papers",
    "pipeline",
    "products",
    "sanctions",
    "screening",
]
