"""The API client: what it was asked for arrives whole, or an error of ours says why not."""
