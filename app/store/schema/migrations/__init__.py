"""Brings a database to the newest schema, and puts changed objects of ours right."""
