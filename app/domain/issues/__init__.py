"""Issues: kinds, detection from counts and ids, acceptance."""
