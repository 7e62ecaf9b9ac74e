"""Speed and memory, measured side by side with stated peers: `python -m bench`."""
