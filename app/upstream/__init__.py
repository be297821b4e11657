"""The API client: a read arrives whole, or one of our errors says why not.

Entry points: `client.UpstreamClient` and `config.UpstreamConfig`.

1. A fetch hands over all rows of its filter or raises (`paging.reading`).
2. Every request passes breaker, connections and quota; only `resilience.pipeline` retries.
3. Failures of a request never count against the API, nor the reverse.
4. The key appears in no error and no log (`redaction`).
"""
