"""What a sweep says: ranking, figures, and one HTML page."""
