"""What method files share."""
