"""The engine of rankings: queries and their documents sent, and pieces of long lists merged."""
