"""Clients of our own that are as strict as discojs's of v3 and v4, in Node."""
