"""Comparing methods: trained alike, evaluated on the same rows, put into one table."""
