"""`make run`: one supervisor that prepares the platform, starts its processes, watches them and ends them all."""
