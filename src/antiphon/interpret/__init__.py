"""What an encoder has learned, as arrays that can be drawn: filters, saliency, layers compared."""
