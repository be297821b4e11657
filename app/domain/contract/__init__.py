"""The API's tables, fields and spelling."""
