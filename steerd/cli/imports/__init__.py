"""Reads what a traffic system serves already and makes a starting config of it."""
