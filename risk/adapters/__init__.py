"""The outside world of this app, each adapter built from a dotted path in settings."""
