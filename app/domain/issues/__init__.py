"""Issues: kinds, detection, acceptance."""
