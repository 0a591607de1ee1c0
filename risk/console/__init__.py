"""The risk staff's door: what burns, why, and who has taken it."""
