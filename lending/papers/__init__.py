"""What is handed out on paper: A4, fonts embedded, the same content always the same bytes."""
