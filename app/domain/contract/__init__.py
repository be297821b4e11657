"""The API's contract: tables, fields, and the spelling of rows."""
