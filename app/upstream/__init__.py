"""The API client: a read arrives whole, or an error of ours says why not.

Entry points: `client.UpstreamClient.fetch` for a proven read, `scan` and `sample` for others,
`config.UpstreamConfig`.

1. A fetch hands over all rows of its filter or raises (`paging.reading`).
2. Every request passes breaker, connections and quota, and is retried in one place
(`resilience.pipeline`).
3. Failures of one request never count against the API, nor those of the API against a request.
4. The key appears in no error and no log (`redaction`).
"""
