"""The borrower's door, and the sign-in page that leads to every door."""
