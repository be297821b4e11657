"""The sandbox's API over HTTP, with faults on demand."""
