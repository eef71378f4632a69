"""The pages that the HTTP server shows."""
