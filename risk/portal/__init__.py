"""The borrower's page of a margin call."""
