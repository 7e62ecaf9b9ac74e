"""What a frozen encoder's features respond to: data first, pictures later."""
